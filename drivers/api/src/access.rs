//! Where a machine is reached, and how one is entered that berth did not make.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a machine's SSH server is reached, and where it is on a network with others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Address {
    /// Host name or IP address to connect to.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The user that the credentials let in.
    pub user: String,
    /// `ssh -J` style hops on the way there: `[user@]host[:port]`.
    #[serde(default)]
    pub jump: Vec<String>,
    /// The machine's own address, at which other machines reach it, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<String>,
}

/// What an adopting driver knows of the way into a machine: its own users' keys, its own host key.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Access {
    /// What may let in, to be tried in this order.
    pub logins: Vec<Login>,
    /// The host's public keys, each as `ssh-ed25519 AAAA…`, and no other is the host's. If there are none, the key that
    /// it shows first is taken for its own.
    pub host_keys: Vec<String>,
    /// The `SHA256:…` fingerprint that the host's key must have, where that is all that is known of it.
    pub fingerprint: Option<String>,
    /// Whether a key of berth's own is to be let in from now on, in place of the user's.
    pub install_key: bool,
    /// The files of the machine's folder by which a driver on another computer would know it too.
    pub files: Vec<String>,
}

/// What to log in with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Login {
    /// The keys in the user's SSH agent.
    Agent,
    /// A private key file of the user's.
    File(PathBuf),
}

impl std::fmt::Display for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Login::Agent => f.write_str("the SSH agent's keys"),
            Login::File(path) => write!(f, "{}", path.display()),
        }
    }
}
