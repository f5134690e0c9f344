//! A fleet file: planned, applied, changed, and found again in the machines.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod asked;
mod changes;
mod dice;
mod failures;
mod refused;
mod written;

#[path = "../support/mod.rs"]
mod support;

use std::fs;

use serde_json::Value;
use support::{Ran, World};

/// What all of these machines are: processes, without an engine.
const DEFAULTS: &str = "fleet = 'prod'\n[defaults]\ndriver = 'sshd'\nimage = './tiny.qcow2'\nengine = 'none'\nmemory = '64M'\n";

trait Fleet {
    /// Writes fleet.toml: what all have, and these groups.
    fn declare(&self, groups: &str);
    fn plan(&self) -> Ran;
    fn apply(&self) -> Ran;
    /// What the plan would do with a machine, in a word.
    fn action(&self, name: &str) -> String;
}

impl Fleet for World {
    fn declare(&self, groups: &str) {
        fs::write(self.path("fleet.toml"), format!("{DEFAULTS}{groups}")).unwrap();
    }

    fn plan(&self) -> Ran {
        self.berth(&["plan"])
    }

    fn apply(&self) -> Ran {
        self.berth(&["--quiet-progress", "apply", "--yes", "--timeout", "20"])
    }

    fn action(&self, name: &str) -> String {
        let plan: Value = serde_json::from_str(&self.berth(&["plan", "--json"]).stdout).unwrap();
        let rows = plan["machines"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        row["action"].as_str().unwrap().to_owned()
    }
}
