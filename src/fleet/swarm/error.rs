//! What can go wrong with a swarm.

use crate::store::Holder;
use crate::{context, machine, store};

/// A swarm call's outcome.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done with a swarm.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An even number of managers.
    #[error(
        "{0} managers: a swarm decides by more than half of them, so an even number bears no more failures than one less"
    )]
    EvenManagers(usize),
    /// More managers than machines.
    #[error("{managers} managers of {machines} machines")]
    TooManyManagers {
        /// How many were asked for.
        managers: usize,
        /// How many machines there are.
        machines: usize,
    },
    /// The name breaks a rule, which are those of machines' names.
    #[error("{name:?} cannot be a swarm's name: {reason}")]
    BadName {
        /// What the user wrote.
        name: String,
        /// The rule.
        reason: String,
    },
    /// A machine has the name already.
    #[error("{0} is a machine: a swarm needs a name of its own, for its docker context")]
    NameTaken(String),
    /// There is no such swarm.
    #[error("there is no swarm {name}")]
    NoSuchSwarm {
        /// What the user wrote.
        name: String,
        /// The swarms that there are.
        known: Vec<String>,
    },
    /// Another berth process is at work on it.
    #[error("swarm {name} is busy{}", busy(holder))]
    Busy {
        /// Which swarm.
        name: String,
        /// That process, if it is known.
        holder: Option<Holder>,
    },
    /// The machine has no address at which others reach it.
    #[error("machine {machine} cannot be reached by other machines: {reason}")]
    NoAddress {
        /// Which machine.
        machine: String,
        /// Why.
        reason: String,
    },
    /// The machine's engine has no swarm mode.
    #[error("machine {0} has podman, which has no swarm mode")]
    Podman(String),
    /// The machine's own settings keep it out.
    #[error("machine {0} is told live-restore by its daemon.json, with which there is no swarm")]
    LiveRestore(String),
    /// The machine is in a swarm, and not in this one.
    #[error("machine {machine} is in {swarm} already")]
    Elsewhere {
        /// Which machine.
        machine: String,
        /// Which swarm, in words.
        swarm: String,
    },
    /// The machine is in no swarm of berth's.
    #[error("machine {0} is in no swarm")]
    NotMember(String),
    /// No manager answers that knows what the swarm does.
    #[error("swarm {swarm} has no manager that can decide: {detail}")]
    NoQuorum {
        /// Which swarm.
        swarm: String,
        /// What the managers say.
        detail: String,
    },
    /// A machine that is to leave does not answer.
    #[error("machine {machine} does not answer and cannot leave by itself: {why}")]
    Dead {
        /// Which machine.
        machine: String,
        /// Why it does not answer.
        why: Box<machine::Error>,
    },
    /// The swarm did not become what it should be.
    #[error("swarm {swarm}: {detail}")]
    NotReady {
        /// Which swarm.
        swarm: String,
        /// What is missing.
        detail: String,
    },
    /// A machine's trouble.
    #[error(transparent)]
    Machine(#[from] machine::Error),
    /// State on disk.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The swarm's docker context.
    #[error(transparent)]
    Context(#[from] context::Error),
}

fn busy(holder: &Option<Holder>) -> String {
    match holder {
        Some(holder) => format!(": process {} does `berth {}`", holder.pid, holder.doing),
        None => String::new(),
    }
}
