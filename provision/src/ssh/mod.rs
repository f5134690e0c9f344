//! One SSH connection to a machine, kept and reused for everything.

mod client;
mod connect;
mod exec;
mod files;
mod keys;
mod known_hosts;
mod overflow;
mod quote;
mod session;
mod stream;

use std::path::PathBuf;

pub use exec::Output;
pub use keys::{HostKey, KeyPair, fingerprint, generate_key, learn_host_key};
pub use quote::quote;
pub use session::Session;
pub use stream::Stream;

use crate::{Error, Result};

/// Where a machine's SSH server is, who we are to it, and how we know that it is the right one.
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
pub enum Key {
    /// An unencrypted private key file.
    File(PathBuf),
    /// The keys in the agent at `SSH_AUTH_SOCK`.
    Agent,
}

/// A host on the way. Its host key is looked up in the same known_hosts file as the machine's, and the same key is
/// offered to it, unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The user to log in as; the machine's if not given.
    pub user: Option<String>,
    /// The known_hosts file that records the hop, if it is not the machine's.
    pub known_hosts: Option<PathBuf>,
    /// The key file for the hop, if it is not the machine's.
    pub key: Option<PathBuf>,
}

impl std::str::FromStr for Hop {
    type Err = Error;

    /// Reads `[user@]host[:port]`, where an IPv6 address with a port stands in brackets.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::Hop { hop: text.into() };
        let (user, address) = match text.rsplit_once('@') {
            Some((user, address)) => (Some(user.to_owned()), address),
            None => (None, text),
        };
        let (host, port) = if let Some(rest) = address.strip_prefix('[') {
            let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
            (host, port.strip_prefix(':').unwrap_or("22"))
        } else if address.matches(':').count() == 1 {
            address.split_once(':').ok_or_else(wrong)?
        } else {
            (address, "22")
        };
        let bad = |word: &str| word.is_empty() || word.contains(|c: char| c.is_whitespace());
        if bad(host) || user.as_deref().is_some_and(bad) || host.starts_with('-') {
            return Err(wrong());
        }
        Ok(Hop {
            host: host.to_owned(),
            port: port.parse().map_err(|_| wrong())?,
            user,
            known_hosts: None,
            key: None,
        })
    }
}

pub(crate) fn host_and_port(host: &str, port: u16) -> String {
    match port {
        22 => host.to_owned(),
        port => format!("[{host}]:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_are_read() {
        let read = |text: &str| -> (Option<String>, String, u16) {
            let hop: Hop = text.parse().unwrap();
            (hop.user, hop.host, hop.port)
        };
        assert_eq!(read("gate"), (None, "gate".into(), 22));
        assert_eq!(
            read("me@gate:2222"),
            (Some("me".into()), "gate".into(), 2222)
        );
        assert_eq!(read("[::1]:23"), (None, "::1".into(), 23));
        assert_eq!(
            read("me@fe80::1"),
            (Some("me".into()), "fe80::1".into(), 22)
        );
        for bad in [
            "",
            "@gate",
            "gate:",
            "gate:x",
            "a b",
            "[::1",
            "-oProxyCommand=x",
        ] {
            assert!(bad.parse::<Hop>().is_err(), "{bad}");
        }
    }
}
