//! What can go wrong in a driver.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::State;

/// A driver call's outcome.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a driver could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The hypervisor knows no such machine.
    #[error("the hypervisor has no machine {0}")]
    Missing(String),

    /// The machine must be in another state for this.
    #[error("it is {state}, not {wanted}")]
    WrongState {
        /// What it does now.
        state: State,
        /// What it should do.
        wanted: &'static str,
    },

    /// The driver never does this.
    #[error("the {driver} driver cannot {what}")]
    Unsupported {
        /// The driver's name.
        driver: String,
        /// The verb: `suspend`, `be started`.
        what: String,
    },

    /// No such `-o` option.
    #[error("the {driver} driver has no option {option:?}")]
    UnknownOption {
        /// The driver's name.
        driver: String,
        /// What the user wrote.
        option: String,
        /// What was probably meant.
        nearest: Option<String>,
        /// All option names.
        known: Vec<String>,
    },

    /// An option, or the size of a machine, is not acceptable.
    #[error("{option}={value}: {reason}")]
    InvalidOption {
        /// The option's name, or `cpus`, `memory`, `disk`.
        option: String,
        /// What the user wrote.
        value: String,
        /// Why it is refused.
        reason: String,
    },

    /// A program that the driver needs is not there.
    #[error("{tool} is not installed")]
    ToolMissing {
        /// The program's name.
        tool: String,
    },

    /// A program that the driver uses failed.
    #[error("{tool} failed: {detail}")]
    Tool {
        /// The program's name.
        tool: String,
        /// Its exit status and last words.
        detail: String,
    },

    /// Something did not happen in time.
    #[error("{what} did not happen within {}", seconds(*after))]
    Timeout {
        /// What was waited for: `the guest's shutdown`.
        what: String,
        /// How long.
        after: Duration,
    },

    /// All loopback ports of the range are taken.
    #[error("no free port is left between {first} and {last} on 127.0.0.1")]
    PortsExhausted {
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },

    /// A file operation failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// Anything else, in words.
    #[error("{what}: {detail}")]
    Failed {
        /// What was attempted.
        what: String,
        /// What is known of why.
        detail: String,
    },
}

impl Error {
    /// An [`Error::Failed`].
    pub fn failed(what: impl Into<String>, detail: impl std::fmt::Display) -> Self {
        Error::Failed {
            what: what.into(),
            detail: detail.to_string(),
        }
    }

    /// A closure for `map_err` that names the file.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Error::Io { path, source }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f32().round())
}
