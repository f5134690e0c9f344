//! What a machine does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a machine does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its resources are being made, or were when berth was interrupted.
    Creating,
    /// Powered on, not yet ready.
    Starting,
    /// Powered on.
    Running,
    /// Powered on, its CPUs held.
    Paused,
    /// Frozen to disk.
    Suspended,
    /// Shutting down.
    Stopping,
    /// Powered off.
    Stopped,
    /// The hypervisor reports a fault.
    Error,
    /// No answer in time.
    Unreachable,
    /// The hypervisor knows no such machine.
    Missing,
}

impl State {
    /// True while the machine uses the hypervisor's CPU or memory.
    pub fn is_up(self) -> bool {
        matches!(
            self,
            State::Starting | State::Running | State::Paused | State::Stopping
        )
    }

    /// The word of the CLI and of `--json`.
    pub fn word(self) -> &'static str {
        match self {
            State::Creating => "creating",
            State::Starting => "starting",
            State::Running => "running",
            State::Paused => "paused",
            State::Suspended => "suspended",
            State::Stopping => "stopping",
            State::Stopped => "stopped",
            State::Error => "error",
            State::Unreachable => "unreachable",
            State::Missing => "missing",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}
