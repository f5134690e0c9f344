//! What would have to be done for a group's machines to be one swarm.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_driver_api::State;
use berth_provision::swarm::Role;
use serde::Serialize;

use super::{Action, Difference, Part, Row};
use crate::fleet::file::DeclaredSwarm;
use crate::fleet::swarm::{self, Swarm};
use crate::machine::{Berth, ask};

/// How long a machine may take to tell whether it runs.
const ASK_DEADLINE: Duration = Duration::from_secs(10);

/// A swarm in a plan. Its JSON form is documented and stable.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SwarmRow {
    /// The swarm's name.
    pub name: String,
    /// The group whose machines it is of.
    pub group: String,
    /// In what it differs; nothing is to be done if in nothing.
    pub differences: Vec<Difference>,
    /// Why it could not be told.
    pub note: Option<String>,
}

/// Compares a swarm with what its managers tell. `rows` say which machines are yet to be made.
pub(super) async fn row(berth: &Berth, declared: &DeclaredSwarm, rows: &[Row]) -> SwarmRow {
    let mut row = SwarmRow {
        name: declared.name.clone(),
        group: declared.group.clone(),
        differences: Vec::new(),
        note: None,
    };
    let mut note = |what: &str, now: Option<String>, then: String| {
        row.differences.push(Difference {
            part: Part::Swarm,
            what: what.to_owned(),
            now,
            then: Some(then),
        });
    };
    match Swarm::find(berth, &declared.name) {
        Ok(Some(_)) => {}
        Ok(None) => {
            note("managers", None, declared.managers.to_string());
            return row;
        }
        Err(error) => {
            row.note = Some(error.to_string());
            return row;
        }
    }
    let status = match swarm::status(berth, &declared.name).await {
        Ok(status) => status,
        Err(error) => {
            row.note = Some(error.to_string());
            return row;
        }
    };
    let nodes: BTreeMap<&str, &swarm::Row> = status
        .nodes
        .iter()
        .filter_map(|node| Some((node.machine.as_deref()?, node)))
        .collect();
    let is_new = |name: &str| {
        let new = |row: &&Row| {
            matches!(
                row.action,
                Action::Create | Action::Replace | Action::Resume
            )
        };
        rows.iter().filter(new).any(|row| row.name == name)
    };
    for name in &declared.machines {
        let node = nodes.get(name.as_str()).filter(|node| node.role.is_some());
        let now = match node {
            None => "not in it".to_owned(),
            Some(_) if is_new(name) => "not in it".to_owned(),
            Some(node) if node.state == "ready" && node.error.is_none() => continue,
            // One that is off comes back by itself when it is started.
            Some(_) if ask(berth, name, ASK_DEADLINE).await.state != State::Running => continue,
            Some(node) => node.error.clone().unwrap_or_else(|| node.state.clone()),
        };
        note(name, Some(now), "in it".into());
    }
    let managers = status
        .nodes
        .iter()
        .filter(|node| node.role == Some(Role::Manager))
        .count();
    if managers != declared.managers && status.error.is_none() {
        note(
            "managers",
            Some(managers.to_string()),
            declared.managers.to_string(),
        );
    }
    row.note = status.error;
    row
}
