//! What an upgrade would do, as it is told before anything is changed, and kept in the machine.

use serde::{Deserialize, Serialize};

/// An upgrade of one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The engine package's version now.
    pub from: String,
    /// The channel that it came by, as far as its name tells; empty where an earlier berth wrote this.
    #[serde(default)]
    pub from_channel: String,
    /// What it is to be.
    pub to: String,
    /// Where that comes from.
    pub channel: String,
    /// Whether upgrades of the machine's other packages are to leave it.
    pub held: bool,
    /// Whether they leave the one that is there.
    pub was_held: bool,
    /// Names of the containers that run, and are to run on.
    pub containers: Vec<String>,
}

impl Plan {
    /// True if that is what is there already.
    pub fn is_done(&self) -> bool {
        self.from == self.to && self.held == self.was_held
    }
}
