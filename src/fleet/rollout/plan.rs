//! What a rollout is to do, as it was agreed to.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::amount::{Amount, batches};
use crate::fleet::Remote;
use crate::machine::{EngineSettings, EngineWish};

/// How carefully a rollout goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// So many machines go first, as a batch of their own.
    pub canary: usize,
    /// Machines a batch, of the whole.
    pub batch: Amount,
    /// Nothing new is begun once more than this, of the whole, have failed.
    pub max_failures: Amount,
    /// Between two batches.
    pub pause: Duration,
}

/// The work that is done on each machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Task {
    /// Another version of the engine.
    Upgrade {
        /// As [`crate::machine::UpgradeRequest::to`].
        to: Option<String>,
        /// As [`crate::machine::UpgradeRequest::channel`].
        channel: Option<String>,
    },
    /// A command in the machine.
    Exec {
        /// The command.
        command: Remote,
    },
    /// The machine is stopped and started.
    Restart,
    /// The engine is brought to what was asked for.
    Provision {
        /// As [`crate::machine::EngineChange::engine`].
        engine: Option<String>,
        /// As [`crate::machine::EngineChange::channel`].
        channel: Option<String>,
        /// What the engine is told from now on, beyond what it was told before. Values may be secret.
        #[serde(default, skip_serializing_if = "EngineSettings::is_empty")]
        settings: EngineSettings,
    },
    /// What a fleet file says.
    Apply {
        /// The file.
        file: PathBuf,
        /// Whether it was said to go ahead without a question, whatever is removed.
        #[serde(default)]
        yes: bool,
    },
}

impl Task {
    /// The command's own word.
    pub fn word(&self) -> &'static str {
        match self {
            Task::Upgrade { .. } => "upgrade",
            Task::Exec { .. } => "exec",
            Task::Restart => "restart",
            Task::Provision { .. } => "provision",
            Task::Apply { .. } => "apply",
        }
    }
}

/// One machine of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The machine.
    pub name: String,
    /// When its turn is, from 1.
    pub batch: usize,
    /// What it has now.
    pub now: String,
    /// What it is to have.
    pub then: String,
    /// The engine that was asked for before, for the way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish: Option<EngineWish>,
}

/// What a rollout is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The rollout's name, which is its folder's.
    pub id: String,
    /// When it began.
    pub began: Timestamp,
    /// Who began it, and where: `user@computer`.
    pub owner: String,
    /// The work.
    pub task: Task,
    /// A command for this computer's shell that has to succeed after each machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// How carefully.
    pub pace: Pace,
    /// The machines, in their order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// A plan for machines in this order; their batches are worked out here. Its name is given when it begins.
    pub fn new(task: Task, gate: Option<String>, pace: Pace, mut steps: Vec<Step>) -> Self {
        let of = batches(steps.len(), pace.canary, pace.batch);
        for (step, batch) in steps.iter_mut().zip(of) {
            step.batch = batch;
        }
        Plan {
            id: String::new(),
            began: Timestamp::now(),
            owner: super::owner(),
            task,
            gate,
            pace,
            steps,
        }
    }

    /// How many machines may fail.
    pub fn may_fail(&self) -> usize {
        self.pace.max_failures.of(self.steps.len())
    }

    /// How many batches there are.
    pub fn batches(&self) -> usize {
        self.steps.last().map_or(0, |step| step.batch)
    }
}
