//! What can go wrong with images.

use std::io;
use std::path::{Path, PathBuf};

use crate::{Checksum, Digest, Problem};

/// The outcome of a call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an image could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a reference at all.
    #[error("{reference:?} is not the name of an image: {reason}")]
    InvalidReference {
        /// What the user wrote.
        reference: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// Neither in the store nor in the catalog.
    #[error("there is no image {reference}{}", suggest(nearest))]
    UnknownImage {
        /// What was asked for.
        reference: String,
        /// Known names that look like it, best first.
        nearest: Vec<String>,
        /// Every known name.
        known: Vec<String>,
    },

    /// A recipe or catalog file is wrong.
    #[error("{file}: {detail}")]
    Recipe {
        /// Its path, or `built-in NAME`.
        file: String,
        /// What is wrong, with the line where that is known.
        detail: String,
    },

    /// The recipe has no kernel for this architecture.
    #[error("the recipe {recipe} has no kernel for {arch}")]
    Arch {
        /// The recipe's name.
        recipe: String,
        /// The architecture as `uname -m` says it.
        arch: String,
    },

    /// A program that building needs is not there.
    #[error("{tool} is not installed")]
    ToolMissing {
        /// The program's name.
        tool: String,
    },

    /// A program failed.
    #[error("{tool} failed: {detail}")]
    Tool {
        /// The program's name.
        tool: String,
        /// Its last words.
        detail: String,
    },

    /// Packages could not be downloaded.
    #[error("packages could not be downloaded from {mirror}: {detail}")]
    Mirror {
        /// The package mirror.
        mirror: String,
        /// What the downloader said.
        detail: String,
    },

    /// An image could not be brought to a registry, or had from it.
    #[error("{address}: {problem}")]
    Registry {
        /// The image's name there.
        address: String,
        /// What went wrong.
        problem: Problem,
    },

    /// Something could not be downloaded.
    #[error("{url} could not be downloaded: {detail}")]
    Download {
        /// The address.
        url: String,
        /// What the server or the connection said.
        detail: String,
    },

    /// An image could be had from none of its addresses.
    #[error("the image {reference} could not be had{}", listed(reasons))]
    NoSource {
        /// The image's name.
        reference: String,
        /// Each address, and why not.
        reasons: Vec<(String, Error)>,
    },

    /// A file is not the one that it is said to be.
    #[error("{what} is not what it should be: it has {found}, not {expected}")]
    Mismatch {
        /// The file or its address.
        what: String,
        /// What the distributor or the user says.
        expected: Checksum,
        /// What it has.
        found: Checksum,
    },

    /// A checksum file does not tell an image's checksum.
    #[error("{url}: {detail}")]
    Checksums {
        /// The checksum file's address.
        url: String,
        /// What is wrong with it.
        detail: String,
    },

    /// The distributor did not sign it.
    #[error("it is not signed by {fingerprint}: {detail}")]
    Unsigned {
        /// The key that should have signed.
        fingerprint: String,
        /// What gpgv said.
        detail: String,
    },

    /// Anybody on the way could have changed it, and nothing would show that.
    #[error("{url} comes over plain HTTP, and nothing tells what it should be")]
    Unvouched {
        /// The address.
        url: String,
    },

    /// No room.
    #[error("the disk that holds {path} is full", path = path.display())]
    DiskFull {
        /// A path on that disk.
        path: PathBuf,
    },

    /// A file given as image is not a disk that berth can boot.
    #[error("{path} is not a disk image that can be used: {reason}", path = path.display())]
    NotADisk {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },

    /// A disk image that names other files, and would make the hypervisor read them.
    #[error("{path} is refused: it refers to another file ({reason})", path = path.display())]
    UnsafeDisk {
        /// The file.
        path: PathBuf,
        /// Which kind of reference.
        reason: String,
    },

    /// A kernel where a guest's disk is wanted, or the other way round.
    #[error("the image {reference} is {is}, not {wanted}")]
    WrongKind {
        /// What was asked for.
        reference: String,
        /// What it is.
        is: &'static str,
        /// What was wanted of it.
        wanted: &'static str,
    },

    /// Machines are made of it.
    #[error("the image {reference} is in use by {}", machines.join(", "))]
    InUse {
        /// What was to be removed.
        reference: String,
        /// The machines' names.
        machines: Vec<String>,
    },

    /// A stored image is not what it was.
    #[error("the stored image {digest} is damaged: {detail}")]
    Damaged {
        /// The image.
        digest: Digest,
        /// What differs.
        detail: String,
    },

    /// A file operation failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// A closure for `map_err` that names the file, and knows a full disk.
    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::DiskFull { path },
            _ => Error::Io { path, source },
        }
    }

    pub(crate) fn recipe(file: impl Into<String>, detail: impl std::fmt::Display) -> Self {
        Error::Recipe {
            file: file.into(),
            detail: detail.to_string(),
        }
    }

    pub(crate) fn tool(tool: &str, detail: impl std::fmt::Display) -> Self {
        Error::Tool {
            tool: tool.to_owned(),
            detail: detail.to_string(),
        }
    }
}

impl From<berth_driver_api::Error> for Error {
    fn from(error: berth_driver_api::Error) -> Self {
        match error {
            berth_driver_api::Error::ToolMissing { tool } => Error::ToolMissing { tool },
            berth_driver_api::Error::Tool { tool, detail } => Error::Tool { tool, detail },
            berth_driver_api::Error::Io { path, source } => Error::io(path)(source),
            other => Error::Tool {
                tool: "berth".into(),
                detail: other.to_string(),
            },
        }
    }
}

fn listed(reasons: &[(String, Error)]) -> String {
    let lines = reasons
        .iter()
        .map(|(url, error)| format!("\n  {url}: {}", short(url, error)));
    lines.collect()
}

/// An error without the address, which is named beside it; what lies beside that is called by its name.
fn short(url: &str, error: &Error) -> String {
    match error {
        Error::Download { url: of, detail } | Error::Checksums { url: of, detail } if of != url => {
            format!("{}: {detail}", of.rsplit('/').next().unwrap_or_default())
        }
        Error::Download { detail, .. } => detail.clone(),
        Error::NotADisk { reason, .. } => format!("it is no disk image that can be used: {reason}"),
        Error::UnsafeDisk { reason, .. } => format!("it refers to another file ({reason})"),
        Error::Mismatch {
            expected, found, ..
        } => format!("what came has {found}, and the distributor says {expected}"),
        other => other.to_string(),
    }
}

fn suggest(nearest: &[String]) -> String {
    match nearest.first() {
        Some(name) => format!("; did you mean {name}?"),
        None => String::new(),
    }
}
