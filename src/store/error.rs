//! What can go wrong with files.

use std::io;
use std::path::{Path, PathBuf};

/// A store call's outcome.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A state file does not have the form it should have.
    #[error("{path} cannot be read: {reason}", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Line, column and what is wrong.
        reason: String,
    },
    /// A state file was written by a later berth.
    #[error("{path} has version {found}; this berth knows versions up to {known}", path = path.display())]
    Future {
        /// Which file.
        path: PathBuf,
        /// The version it has.
        found: i64,
        /// The version this berth writes.
        known: i64,
    },
    /// Neither `BERTH_HOME` nor a home folder is known.
    #[error("no home folder is known: set BERTH_HOME or HOME")]
    NoHome,
    /// `BERTH_HOME` is relative.
    #[error("BERTH_HOME={0} is not an absolute path")]
    RelativeHome(String),
}

impl Error {
    /// A closure for `map_err` that names the file.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Error::Io { path, source }
    }
}
