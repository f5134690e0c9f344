//! What a driver found out about this computer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a driver found out about this computer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    /// True if machines can be made here.
    pub usable: bool,
    /// How the guests' code would run.
    #[serde(default)]
    pub execution: Execution,
    /// What decides it, most important first.
    pub findings: Vec<Finding>,
}

/// How a guest's code runs on this computer, the best first.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Execution {
    /// On the CPU, as a guest of its virtualization hardware.
    Hardware,
    /// On the CPU, without virtualization hardware.
    Native,
    /// The driver does not tell.
    #[default]
    Unknown,
    /// Translated by a program, several times slower.
    Emulated,
}

/// One thing found by a probe.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What was looked at, such as `qemu` or `acceleration`.
    pub subject: String,
    /// True if it is as it should be.
    pub good: bool,
    /// What was found and, if that is known, why.
    pub detail: String,
    /// Commands whose absence this is, by the name of the program (`qemu-img`), for `doctor --fix`.
    #[serde(default)]
    pub missing_tools: Vec<String>,
}

impl Finding {
    /// A finding without a missing tool.
    pub fn new(subject: &str, good: bool, detail: impl Into<String>) -> Self {
        Finding {
            subject: subject.into(),
            good,
            detail: detail.into(),
            missing_tools: Vec::new(),
        }
    }

    /// Something that is as it should be.
    pub fn good(subject: &str, detail: impl Into<String>) -> Self {
        Finding::new(subject, true, detail)
    }

    /// Something that is not as it should be.
    pub fn bad(subject: &str, detail: impl Into<String>) -> Self {
        Finding::new(subject, false, detail)
    }

    /// A program that is not installed.
    pub fn missing(subject: &str, tool: &str) -> Self {
        Finding {
            missing_tools: vec![tool.into()],
            ..Finding::bad(subject, format!("{tool} is not installed"))
        }
    }
}
