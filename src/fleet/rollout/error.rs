//! What stands in a rollout's way.

use jiff::Timestamp;

use crate::fleet::fold;
use crate::{machine, store};

/// A rollout call's outcome.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a rollout cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another rollout of this berth's has some of the machines.
    #[error("{} {} in rollout {id} ({what}, by {owner} since {since:.0}), which {}",
        fold(&machines.iter().map(String::as_str).collect::<Vec<_>>()),
        if machines.len() == 1 { "is" } else { "are" },
        if running.is_some() { "is under way" } else { "has not ended" })]
    Overlap {
        /// The other rollout.
        id: String,
        /// Its work, in a word.
        what: &'static str,
        /// Who began it.
        owner: String,
        /// When.
        since: Timestamp,
        /// The machines that both are about.
        machines: Vec<String>,
        /// Its process, while it runs.
        running: Option<i32>,
    },
    /// Somebody else's rollout has the machine.
    #[error("machine {machine} is in another rollout: {holder}")]
    Held {
        /// Which machine.
        machine: String,
        /// Whose.
        holder: Box<super::Holder>,
    },
    /// The machine does not say whether it is in another rollout.
    #[error("machine {machine}: it cannot be told whether another rollout has it: {why}")]
    Unlockable {
        /// Which machine.
        machine: String,
        /// Why.
        why: String,
    },
    /// The machine works for a swarm, and nobody can be asked to empty it.
    #[error(
        "machine {0} is a node of a swarm, and no manager of it is a machine of berth's that answers"
    )]
    NoManager(String),
    /// The machine's swarm could decide nothing without it.
    #[error(
        "machine {machine} is one of the {managers} managers of a swarm, and of the others only {others} can be reached: \
         without it the swarm could decide nothing"
    )]
    Quorum {
        /// Which machine.
        machine: String,
        /// How many managers there are.
        managers: usize,
        /// How many beside this one are reached.
        others: usize,
    },
    /// A command failed.
    #[error("machine {machine}: exit {code}{}{words}", if words.is_empty() { "" } else { ": " })]
    Exit {
        /// Which machine.
        machine: String,
        /// The exit code.
        code: i32,
        /// The last that it said.
        words: String,
    },
    /// An upgrade broke off halfway.
    #[error("{why}; {back}")]
    TakenBack {
        /// Why.
        why: String,
        /// What became of the machine.
        back: String,
    },
    /// There is no such rollout.
    #[error("there is no rollout {0}")]
    NoSuch(String),
    /// There is none that could go on.
    #[error("no rollout waits to go on")]
    NoneOpen,
    /// Several could be meant.
    #[error("several rollouts have not ended: {}", .0.join(", "))]
    Several(Vec<String>),
    /// It has ended.
    #[error("rollout {id} has ended: {how}")]
    Ended {
        /// Which.
        id: String,
        /// How.
        how: &'static str,
    },
    /// A process is at it.
    #[error("rollout {id} is under way: process {pid}")]
    Running {
        /// Which.
        id: String,
        /// The process.
        pid: i32,
    },
    /// A machine's error.
    #[error(transparent)]
    Machine(#[from] machine::Error),
    /// State on disk.
    #[error(transparent)]
    Store(#[from] store::Error),
}
