//! How swarms are, by their managers; their contexts are mended on the way.

use berth_provision::swarm::{Node, Role};
use serde::Serialize;

use super::members::{Asked, ask, chief};
use super::record::Swarm;
use super::{Result, context};
use crate::machine::Berth;

/// A swarm as `berth swarm status` shows it. The field names are those of `--json` and stable.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// The engines' own id of it.
    pub id: Option<String>,
    /// The machine that its docker context leads to, which answered for it.
    pub manager: Option<String>,
    /// How many managers it is to have.
    pub managers: usize,
    /// How many more of them may be lost before nobody can decide any more.
    pub spare: usize,
    /// Its nodes.
    pub nodes: Vec<Row>,
    /// Why nobody decides, if nobody does.
    pub error: Option<String>,
}

/// A node.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The machine's name; none if it is not one of berth's.
    pub machine: Option<String>,
    /// The node's id.
    pub node: Option<String>,
    /// What the machine calls itself.
    pub hostname: Option<String>,
    /// `manager` or `worker`.
    pub role: Option<Role>,
    /// Whether it leads the managers.
    pub leader: bool,
    /// `ready`, `down`, `disconnected`, `unknown`, or `absent`.
    pub state: String,
    /// `active`, `pause` or `drain`.
    pub availability: Option<String>,
    /// Where the others reach it.
    pub address: Option<String>,
    /// Its engine's version.
    pub engine: Option<String>,
    /// Why its machine does not answer, or its engine takes no part.
    pub error: Option<String>,
}

impl Status {
    /// True if every machine takes part and somebody decides.
    pub fn is_well(&self) -> bool {
        let well = |row: &Row| row.state == "ready" && row.error.is_none();
        self.error.is_none() && self.nodes.iter().all(well)
    }
}

/// Asks the machines of the swarm `name`, and points its docker context at a manager that decides.
///
/// # Errors
/// [`super::Error::NoSuchSwarm`]; what does not answer is in the status.
pub async fn status(berth: &Berth, name: &str) -> Result<Status> {
    let swarm = Swarm::read(berth, name)?;
    let answers = ask(berth, swarm.machines.keys()).await;
    let (head, error) = match chief(name, &answers, None).await {
        Ok(head) => (Some(head), None),
        Err(error) => (None, Some(error.to_string())),
    };
    if let Some(head) = &head {
        context::point(berth, &swarm, &head.asked.reached.opened)?;
    }
    let nodes: &[Node] = head.as_ref().map_or(&[], |head| &head.nodes);
    let mut rows: Vec<Row> = Vec::new();
    for (machine, id) in &swarm.machines {
        let answer = answers.get(machine);
        let member = match answer {
            Some(Ok(Asked { member, .. })) => member.as_ref(),
            _ => None,
        };
        let id = member.map_or(id, |member| &member.node);
        let mut row = match nodes.iter().find(|node| node.id == *id) {
            Some(node) => of_node(node),
            None => Row {
                role: member.map(|member| member.role),
                address: member.map(|member| member.address.clone()),
                ..absent()
            },
        };
        row.machine = Some(machine.clone());
        row.error = match answer {
            Some(Err(error)) => Some(error.to_string()),
            Some(Ok(_)) if member.is_none() => Some("its engine is in no swarm".into()),
            _ => member.and_then(|member| member.trouble.clone()),
        };
        row.node = Some(id.clone()).filter(|id| !id.is_empty());
        rows.push(row);
    }
    for node in nodes {
        if rows.iter().all(|row| row.node.as_ref() != Some(&node.id)) {
            rows.push(of_node(node));
        }
    }
    let count = |reachable: bool| {
        let managers = nodes.iter().filter(|node| node.role == Role::Manager);
        managers
            .filter(|node| !reachable || node.reachable == Some(true))
            .count()
    };
    let needed = count(false) / 2 + 1;
    Ok(Status {
        name: swarm.name.clone(),
        id: swarm.swarm.clone(),
        manager: head.as_ref().map(|head| head.machine.to_owned()),
        managers: swarm.managers,
        spare: count(true).saturating_sub(needed),
        nodes: rows,
        error,
    })
}

fn of_node(node: &Node) -> Row {
    Row {
        machine: None,
        node: Some(node.id.clone()),
        hostname: Some(node.hostname.clone()),
        role: Some(node.role),
        leader: node.leader,
        state: node.state.clone(),
        availability: Some(node.availability.clone()),
        address: Some(node.address.clone()),
        engine: Some(node.engine.clone()),
        error: None,
    }
}

fn absent() -> Row {
    Row {
        machine: None,
        node: None,
        hostname: None,
        role: None,
        leader: false,
        state: "absent".into(),
        availability: None,
        address: None,
        engine: None,
        error: None,
    }
}
