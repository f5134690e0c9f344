//! Connections that are kept open for later commands.
//!
//! One process of the user's holds them. It is started by `berth exec --keep`, is spoken to on a unix socket that only
//! the user can open, and ends by itself when nothing was asked of it for as long as it was to keep what it has. It is
//! told where a machine's SSH server is, who we are to it and which host key it must have, and knows nothing else of
//! machines: whether one runs, and where, is looked at by every command itself.
//!
//! A connection carries one command at a time. A second one for the same machine gets another connection, so that
//! a slow reader holds up nobody else and a command that is cut off takes only its own connection along.

mod client;
mod frame;
mod keeper;
mod labelled;
mod pool;

pub use client::{Error, Kept, end};
pub use keeper::run;

use std::path::PathBuf;

use crate::store::{Home, sockets_of};

/// The hidden subcommand that is the process.
pub const KEEP: &str = "keep-connections";

/// Where it listens.
fn socket(home: &Home) -> PathBuf {
    sockets_of(&home.kept()).join("ssh.sock")
}

/// Held by it while it lives.
fn lock(home: &Home) -> PathBuf {
    home.kept().join("lock")
}
