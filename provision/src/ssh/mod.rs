//! One SSH connection to a machine, kept and reused for everything.

mod client;
mod config;
mod connect;
mod exec;
mod failed;
mod files;
mod jump;
mod keys;
mod known_hosts;
mod overflow;
mod quote;
mod reach;
mod sealed;
mod session;
mod stream;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use connect::greet;
pub use exec::Output;
pub use jump::{Hop, jump_arguments};
pub use keys::{HostKey, KeyPair, find_host_key, fingerprint, generate_key, learn_host_key};
pub use quote::quote;
pub use sealed::{Passphrase, is_sealed, open};
pub use session::Session;
pub use stream::Stream;

/// Where a machine's SSH server is, who we are to it, and how we know that it is the right one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// What to log in with.
    pub key: Key,
    /// The machine's own known_hosts file: `host keytype base64` lines, the only keys that are accepted.
    pub known_hosts: PathBuf,
    /// The name under which `known_hosts` records the machine, if it is not its address.
    pub host_key_alias: Option<String>,
    /// Hosts to go through, the nearest first.
    pub jump: Vec<Hop>,
}

impl Target {
    /// The name under which `known_hosts` records the machine: `host`, or `[host]:port` off port 22.
    pub fn recorded_name(&self) -> String {
        match &self.host_key_alias {
            Some(alias) => alias.clone(),
            None => host_and_port(&self.host, self.port),
        }
    }
}

/// What to log in with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Key {
    /// An unencrypted private key file.
    File(PathBuf),
    /// A private key file that a passphrase opens.
    Sealed {
        /// The file.
        file: PathBuf,
        /// What opens it.
        passphrase: Passphrase,
    },
    /// The keys in the agent at `SSH_AUTH_SOCK`.
    Agent,
}

impl Key {
    /// The key's file, if it is not the agent's.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Key::File(file) | Key::Sealed { file, .. } => Some(file),
            Key::Agent => None,
        }
    }
}

pub(crate) fn host_and_port(host: &str, port: u16) -> String {
    match port {
        22 => host.to_owned(),
        port => format!("[{host}]:{port}"),
    }
}
