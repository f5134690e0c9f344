//! Emptying a node before it is worked on, and letting containers come back afterwards.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::nodes::{Node, nodes, set};
use super::one_line;
use crate::engine::Engine;
use crate::{Error, Result};

/// Tasks tell of their changes only when they are asked; they are, in pauses that grow from this to that.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How a node's containers fared when it was drained.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moved {
    /// How many now run elsewhere.
    pub moved: usize,
    /// Those that run nowhere, as `SERVICE-ID.SLOT: why`: the swarm finds no other node for them.
    pub homeless: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Task {
    #[serde(rename = "ServiceID")]
    service_id: String,
    #[serde(rename = "NodeID")]
    node_id: String,
    slot: u64,
    status: TaskStatus,
    desired_state: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct TaskStatus {
    state: String,
    err: Option<String>,
    message: Option<String>,
}

/// A replica of a service: it keeps its number whichever node it runs on.
type Replica = (String, u64);

impl Task {
    /// Has a container on its node, or is about to have one.
    fn is_there(&self) -> bool {
        matches!(
            self.status.state.as_str(),
            "assigned" | "accepted" | "preparing" | "ready" | "starting" | "running"
        )
    }

    fn is_wanted(&self) -> bool {
        matches!(self.desired_state.as_str(), "ready" | "running")
    }

    /// Of a service with a number of replicas: one that runs on every node has no slots and goes nowhere.
    fn replica(&self) -> Option<Replica> {
        (self.slot > 0).then(|| (self.service_id.clone(), self.slot))
    }
}

/// How far a node's drain is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Progress {
    /// Tasks that still are on the node.
    here: usize,
    /// Replicas of it that do not run elsewhere yet, and what is said of them.
    waiting: Vec<(Replica, String)>,
    /// Replicas that do.
    moved: usize,
}

fn progress(tasks: &[Task], node: &str, replicas: &BTreeSet<Replica>) -> Progress {
    let here = tasks.iter().filter(|task| task.node_id == node);
    let mut progress = Progress {
        here: here.filter(|task| task.is_there()).count(),
        ..Progress::default()
    };
    for replica in replicas {
        let mut wanted = tasks
            .iter()
            .filter(|task| task.is_wanted() && task.replica().as_ref() == Some(replica))
            .peekable();
        // Its service is gone, or has fewer replicas now.
        if wanted.peek().is_none() {
            continue;
        }
        let runs = |task: &&Task| task.node_id != node && task.status.state == "running";
        match wanted.clone().any(|task| runs(&task)) {
            true => progress.moved += 1,
            false => {
                let why = wanted.find_map(|task| {
                    let status = &task.status;
                    let said = status.err.as_ref().filter(|words| !words.is_empty());
                    said.or(status.message.as_ref())
                });
                let why = why.map(|words| one_line(words)).unwrap_or_default();
                progress.waiting.push((replica.clone(), why));
            }
        }
    }
    progress
}

/// Empties the node `node` through `manager`, which may be the node's own engine if it is a manager: nothing is put
/// there any more, and what was there is started elsewhere. Returns when no container of the swarm is left there and
/// every replica runs elsewhere, or after `deadline` if only the latter is missing. Draining again is fine.
///
/// # Errors
/// [`Error::Timeout`] if containers are still there then; [`Error::Engine`].
pub async fn drain(manager: &Engine, node: &str, deadline: Duration) -> Result<Moved> {
    let until = Instant::now() + deadline;
    let before = tasks(manager).await?;
    let replicas: BTreeSet<Replica> = before
        .iter()
        .filter(|task| task.node_id == node && task.is_there() && task.is_wanted())
        .filter_map(Task::replica)
        .collect();
    set(manager, node, "Availability", "drain").await?;
    let mut pause = FIRST_PAUSE;
    loop {
        let now = progress(&tasks(manager).await?, node, &replicas);
        let over = Instant::now() + pause >= until;
        if now.here == 0 && (now.waiting.is_empty() || over) {
            let homeless = now.waiting.into_iter();
            return Ok(Moved {
                moved: now.moved,
                homeless: homeless
                    .map(|((service, slot), why)| format!("{service}.{slot}: {why}"))
                    .collect(),
            });
        }
        if over {
            return Err(Error::Timeout {
                host: format!("node {node}"),
                what: format!("the end of its {} containers", now.here),
                after: deadline,
            });
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Lets containers come to a node again, as soon as it is ready. A manager that was just started has no answer before the
/// managers have found each other: it is asked again.
///
/// # Errors
/// [`Error::Timeout`] if the node is not back in the swarm within `deadline`; [`Error::Engine`] if there is no answer.
pub async fn activate(manager: &Engine, node: &str, deadline: Duration) -> Result<()> {
    let until = Instant::now() + deadline;
    let mut pause = FIRST_PAUSE;
    loop {
        let back = is_back(manager, node).await;
        if matches!(back, Ok(true)) {
            return Ok(());
        }
        if Instant::now() + pause >= until {
            return Err(back.err().unwrap_or_else(|| Error::Timeout {
                host: format!("node {node}"),
                what: "its return into the swarm".into(),
                after: deadline,
            }));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn is_back(manager: &Engine, node: &str) -> Result<bool> {
    set(manager, node, "Availability", "active").await?;
    let found = nodes(manager).await?.into_iter().find(|n| n.id == node);
    Ok(found.is_some_and(|node| is_well(&node)))
}

/// Whether a node takes part: a manager is reached by the others, too.
fn is_well(node: &Node) -> bool {
    node.state == "ready" && node.reachable != Some(false)
}

/// Whether a manager has noticed that a node left: it is down, or off the list.
///
/// # Errors
/// [`Error::Engine`].
pub async fn has_left(manager: &Engine, node: &str) -> Result<bool> {
    let found = nodes(manager).await?.into_iter().find(|n| n.id == node);
    Ok(found.is_none_or(|node| node.state == "down"))
}

async fn tasks(manager: &Engine) -> Result<Vec<Task>> {
    manager.get("/tasks").await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(service: &str, slot: u64, node: &str, state: &str, desired: &str) -> Task {
        Task {
            service_id: service.into(),
            node_id: node.into(),
            slot,
            status: TaskStatus {
                state: state.into(),
                err: (state == "pending").then(|| "no suitable node".into()),
                message: None,
            },
            desired_state: desired.into(),
        }
    }

    #[test]
    fn a_node_is_empty_when_its_replicas_run_elsewhere() {
        let replicas = BTreeSet::from([("web".to_owned(), 1), ("web".to_owned(), 2)]);
        let look = |tasks: &[Task]| progress(tasks, "n1", &replicas);
        // A task that runs on every node is stopped and not moved; web.1's new one is only starting.
        let mut tasks = vec![
            task("all", 0, "n1", "running", "shutdown"),
            task("web", 1, "n1", "shutdown", "shutdown"),
            task("web", 1, "n2", "starting", "running"),
            task("web", 2, "n1", "shutdown", "shutdown"),
            task("web", 2, "", "pending", "running"),
            task("db", 1, "n1", "complete", "shutdown"),
        ];
        let now = look(&tasks);
        assert_eq!((now.here, now.moved, now.waiting.len()), (1, 0, 2));
        assert_eq!(
            now.waiting[1],
            (("web".into(), 2), "no suitable node".into())
        );
        tasks[0].status.state = "shutdown".into();
        tasks[2].status.state = "running".into();
        let now = look(&tasks);
        assert_eq!((now.here, now.moved, now.waiting.len()), (0, 1, 1));
        // A service that is removed meanwhile holds nobody up.
        tasks.retain(|task| task.slot != 2);
        assert!(look(&tasks).waiting.is_empty());
    }
}
