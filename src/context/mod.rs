//! Pointing local clients at machines: docker contexts, podman connections, shell environments, ssh configuration.

pub mod docker;
pub mod podman;
pub mod shell;
pub mod ssh_config;

use std::path::PathBuf;

use crate::store;

/// A context call's outcome.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a client could not be pointed at a machine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else's docker context has the machine's name.
    #[error("a docker context {name} exists and is not berth's")]
    Foreign {
        /// Its name.
        name: String,
    },
    /// The docker context of another machine, or of a swarm, has the machine's name.
    #[error("a docker context {name} exists and is that of a swarm or of another machine")]
    Others {
        /// Its name.
        name: String,
    },
    /// Somebody else's podman connection has the machine's name.
    #[error("a podman connection {name} exists and is not berth's")]
    ForeignConnection {
        /// Its name.
        name: String,
    },
    /// There is no such docker context.
    #[error("there is no docker context {0}")]
    Missing(String),
    /// One of the clients' files does not have the form it should have.
    #[error("{path} cannot be read: {reason}", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Neither `DOCKER_CONFIG` nor a home folder is known.
    #[error("no folder for docker's configuration is known: set DOCKER_CONFIG or HOME")]
    NoFolder,
    /// A file operation.
    #[error(transparent)]
    Store(#[from] store::Error),
}
