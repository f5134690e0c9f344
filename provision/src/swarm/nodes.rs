//! The nodes of a swarm, as one of its managers knows them.

use std::time::Duration;

use hyper::Method;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::sleep;

use super::{Role, one_line, plain};
use crate::engine::Engine;
use crate::{Error, Result};

/// How long managers may take to agree on one change.
const AGREEING: Duration = Duration::from_secs(60);

/// Two changes of one node at the same moment: the second has to look again, and so often it does.
const TRIES: u32 = 5;

/// A node, as a manager knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its id, which it keeps.
    pub id: String,
    /// The name of its machine, as the machine says.
    pub hostname: String,
    /// What it is to be.
    pub role: Role,
    /// `active`, `pause` or `drain`: whether containers are put there.
    pub availability: String,
    /// `ready`, `down`, `disconnected` or `unknown`.
    pub state: String,
    /// The address at which it is reached.
    pub address: String,
    /// Of a manager: whether the others reach it. `None` while it is none, or is only becoming one.
    pub reachable: Option<bool>,
    /// Whether it leads the managers.
    pub leader: bool,
    /// Its engine's version.
    pub engine: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Raw {
    #[serde(rename = "ID")]
    id: String,
    version: RawVersion,
    spec: Map<String, Value>,
    description: Description,
    status: Status,
    manager_status: Option<ManagerStatus>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawVersion {
    index: u64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Description {
    hostname: String,
    engine: EngineDescription,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct EngineDescription {
    engine_version: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Status {
    state: String,
    addr: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct ManagerStatus {
    leader: bool,
    reachability: String,
}

impl Raw {
    fn word(&self, key: &str) -> String {
        plain(
            self.spec
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default(),
        )
    }

    fn node(self) -> Node {
        Node {
            role: match self.word("Role").as_str() {
                "manager" => Role::Manager,
                _ => Role::Worker,
            },
            availability: self.word("Availability"),
            id: plain(&self.id),
            hostname: one_line(&self.description.hostname),
            state: plain(&self.status.state),
            address: plain(&self.status.addr),
            reachable: self
                .manager_status
                .as_ref()
                .map(|status| status.reachability == "reachable"),
            leader: self.manager_status.is_some_and(|status| status.leader),
            engine: plain(&self.description.engine.engine_version),
        }
    }
}

/// All nodes of a manager's swarm, by name.
///
/// # Errors
/// [`Error::Engine`] if it is no manager, or the managers have lost their quorum.
pub async fn nodes(manager: &Engine) -> Result<Vec<Node>> {
    let raw: Vec<Raw> = manager.get("/nodes").await?;
    let mut nodes: Vec<Node> = raw.into_iter().map(Raw::node).collect();
    nodes.sort_by(|a, b| (&a.hostname, &a.id).cmp(&(&b.hostname, &b.id)));
    Ok(nodes)
}

/// Makes a node a manager. Being one already is fine.
///
/// # Errors
/// [`Error::Engine`] if the manager that is asked refuses.
pub async fn promote(manager: &Engine, node: &str) -> Result<()> {
    set(manager, node, "Role", "manager").await
}

/// Makes a node a worker. Being one already is fine.
///
/// # Errors
/// As [`promote`]; a swarm's last manager cannot be demoted.
pub async fn demote(manager: &Engine, node: &str) -> Result<()> {
    set(manager, node, "Role", "worker").await
}

/// Takes a node off the swarm's list; with `force` one that has not left by itself, as a dead one cannot. One that is
/// not there is fine.
///
/// # Errors
/// [`Error::Engine`] if it is a manager still, or has not left.
pub async fn remove(manager: &Engine, node: &str, force: bool) -> Result<()> {
    if nodes(manager).await?.iter().all(|known| known.id != node) {
        return Ok(());
    }
    let path = format!("/nodes/{}?force={force}", plain(node));
    manager
        .order(Method::DELETE, &path, None::<&()>, AGREEING)
        .await
}

/// Sets a field of a node's specification, of which everything else is kept as it is, known or not.
pub(super) async fn set(manager: &Engine, node: &str, key: &str, value: &str) -> Result<()> {
    let path = format!("/nodes/{}", plain(node));
    let mut tried = 0;
    loop {
        let mut raw: Raw = manager.get(&path).await?;
        let wanted = Value::from(value);
        if raw.spec.get(key) == Some(&wanted) {
            return Ok(());
        }
        raw.spec.insert(key.to_owned(), wanted);
        let update = format!("{path}/update?version={}", raw.version.index);
        let done = manager
            .order(Method::POST, &update, Some(&raw.spec), AGREEING)
            .await;
        match done {
            Err(Error::Engine { detail, .. })
                if detail.contains("out of sequence") && tried < TRIES =>
            {
                tried += 1;
                sleep(Duration::from_millis(100) * tried).await;
            }
            done => return done,
        }
    }
}
