//! Docker's swarm mode: what an engine is in its swarm, and what is done to nodes.
//!
//! A node is changed through a manager, which may be another machine's engine: functions say which one they ask.
//! API: <https://docs.docker.com/reference/api/engine/>, Swarm, Nodes, Tasks.

mod drain;
mod live_restore;
mod membership;
mod nodes;

pub use drain::{Moved, activate, drain, has_left};
pub use live_restore::{allow_swarm, end_swarm};
pub use membership::{Token, Tokens, init, join, leave, tokens};
pub use nodes::{Node, demote, nodes, promote, remove};

use serde::Deserialize;

use crate::Result;
use crate::engine::Engine;

/// What a node does in a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Decides, with the other managers, what runs where; runs containers too unless it is drained.
    Manager,
    /// Runs containers.
    Worker,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Manager => "manager",
            Role::Worker => "worker",
        })
    }
}

/// What an engine says of its own place in a swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The node's id.
    pub node: String,
    /// Manager or worker.
    pub role: Role,
    /// The swarm's id; only managers know it.
    pub swarm: Option<String>,
    /// The address at which the others reach it.
    pub address: String,
    /// The managers' addresses with ports, as this node knows them.
    pub managers: Vec<String>,
    /// Why it does not take part, if it does not: it has lost the managers, or the managers their quorum.
    pub trouble: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Info {
    swarm: SwarmInfo,
    live_restore_enabled: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct SwarmInfo {
    #[serde(rename = "NodeID")]
    node_id: String,
    node_addr: String,
    local_node_state: String,
    control_available: bool,
    error: Option<String>,
    remote_managers: Option<Vec<Peer>>,
    cluster: Option<Cluster>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Peer {
    addr: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Cluster {
    #[serde(rename = "ID")]
    id: String,
}

/// What an engine is in a swarm; `None` if it is in none.
///
/// # Errors
/// [`crate::Error::Engine`] if it does not answer.
pub async fn info(engine: &Engine) -> Result<Option<Member>> {
    let info: Info = engine.get("/info").await?;
    Ok(info.swarm.member())
}

impl SwarmInfo {
    fn member(self) -> Option<Member> {
        if matches!(self.local_node_state.as_str(), "" | "inactive") {
            return None;
        }
        let trouble = self.error.filter(|error| !error.is_empty());
        let trouble = match self.local_node_state.as_str() {
            // An engine that has lost a manager for a while goes on saying "error", of nothing.
            "active" | "error" => trouble,
            "locked" => Some("its keys are locked: `docker swarm unlock`".into()),
            other => trouble.or_else(|| Some(format!("its state is {other}"))),
        };
        Some(Member {
            node: plain(&self.node_id),
            role: match self.control_available {
                true => Role::Manager,
                false => Role::Worker,
            },
            swarm: self
                .cluster
                .map(|cluster| plain(&cluster.id))
                .filter(|id| !id.is_empty()),
            address: plain(&self.node_addr),
            managers: self
                .remote_managers
                .unwrap_or_default()
                .iter()
                .take(64)
                .map(|peer| plain(&peer.addr))
                .collect(),
            trouble: trouble.map(|words| one_line(&words)),
        })
    }
}

/// A word of an engine's that goes into paths, requests and files: what does not belong into an id, a name or an
/// address is left out.
fn plain(word: &str) -> String {
    let good = |c: &char| c.is_ascii_alphanumeric() || ".:-_[]+~".contains(*c);
    word.chars().filter(good).take(128).collect()
}

/// An engine's words, of which a terminal obeys nothing.
fn one_line(words: &str) -> String {
    let words = words.replace(['\n', '\r', '\t'], " ");
    words
        .chars()
        .filter(|c| !c.is_control())
        .take(300)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(json: &str) -> Option<Member> {
        serde_json::from_str::<Info>(json).unwrap().swarm.member()
    }

    #[test]
    fn engines_tell_what_they_are() {
        assert_eq!(member("{}"), None);
        assert_eq!(
            member(r#"{"Swarm":{"NodeID":"","LocalNodeState":"inactive","RemoteManagers":null}}"#),
            None
        );
        let manager = member(
            r#"{"Swarm":{"NodeID":"n1","NodeAddr":"10.86.0.1","LocalNodeState":"active","ControlAvailable":true,
                "Error":"","RemoteManagers":[{"NodeID":"n1","Addr":"10.86.0.1:2377"}],"Cluster":{"ID":"c1"}}}"#,
        )
        .unwrap();
        assert_eq!(
            (manager.role, manager.swarm.as_deref()),
            (Role::Manager, Some("c1"))
        );
        assert_eq!(manager.managers, ["10.86.0.1:2377"]);
        assert_eq!(manager.trouble, None);
        let lost = member(
            r#"{"Swarm":{"NodeID":"n2/../x","LocalNodeState":"pending","Error":"rpc\u001b[2J error"}}"#,
        )
        .unwrap();
        assert_eq!((lost.role, lost.node.as_str()), (Role::Worker, "n2..x"));
        assert_eq!(lost.trouble.as_deref(), Some("rpc[2J error"));
    }
}
