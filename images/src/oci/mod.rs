//! Images in registries, as artifacts of the Open Container Initiative: one manifest, a config that says what the image
//! is, and a layer for each of its files, packed by zstd.

mod address;
mod auth;
mod blob;
mod body;
mod config;
mod credentials;
mod manifest;
mod pack;
mod problem;
mod pull;
mod push;
mod registry;

use std::path::PathBuf;

pub use address::{Address, is_in_registry};
pub use problem::Problem;

use crate::Error;

/// How registries are spoken to.
#[derive(Debug, Clone)]
pub struct Access {
    /// Where what `docker login` and `podman login` took is looked for, in this order: files of docker's format.
    pub logins: Vec<PathBuf>,
    /// Plain HTTP to registries beyond this computer too, where anybody on the way reads and changes what goes by.
    pub plain_http: bool,
}

/// How a call to a registry ends early: by the registry, or by something on this computer.
#[derive(Debug)]
pub(crate) enum Failed {
    There(Problem),
    Here(Error),
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Failed::There(problem)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Here(error)
    }
}

impl Failed {
    /// The error about the image at `address`.
    fn about(self, address: &Address) -> Error {
        match self {
            Failed::Here(error) => error,
            Failed::There(problem) => Error::Registry {
                address: address.to_string(),
                problem,
            },
        }
    }
}

/// What another computer says, for a line of berth's: short, and without what would move a terminal's cursor.
fn plain(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(200).collect::<String>().trim().to_owned()
}
