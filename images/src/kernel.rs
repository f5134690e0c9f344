//! What is known of a stored kernel.

use serde::{Deserialize, Serialize};

/// What a driver's kernel is and can do, as it said itself when it was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelInfo {
    /// The kernel's version as `uname -r` says it.
    pub version: String,
    /// The abilities that were looked for and are there, such as `seccomp-mode`, `vxlan`, `memory-cgroup`.
    pub has: Vec<String>,
    /// Those that are not.
    pub lacks: Vec<String>,
    /// What follows for a container host, one sentence a limit. Empty if nothing does.
    pub limits: Vec<String>,
}
