//! A machine's TLS endpoint: where it listens, and its certificates.
//!
//! The supervisor ends TLS and asks every client for a certificate of this machine's own; or the engine of an adopted
//! host does both itself.

mod authority;
pub(super) mod engine;
mod files;
mod sign;
mod switch;

pub use authority::Trust;
pub use files::{Files, certificate};
pub use sign::{refresh, renew, replace_ca};
pub use switch::{disable, enable};
pub(super) use switch::{prepare, release};

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Error, Record, Result};

/// A port that is yet to be leased.
const ANY_PORT: u16 = 0;

/// The TLS endpoint that a machine is to have, in its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsWish {
    /// Where the supervisor listens.
    pub listen: SocketAddr,
    /// Names and addresses that clients reach it by, beside the usual ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// True if the engine itself ends TLS, and listens there on its own host.
    #[serde(default, skip_serializing_if = "is_false")]
    pub by_engine: bool,
    /// True if docker's context of the machine goes over TLS and not over the unix socket.
    #[serde(default)]
    pub context: bool,
}

impl Default for TlsWish {
    fn default() -> Self {
        TlsWish {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, ANY_PORT)),
            hosts: Vec::new(),
            by_engine: false,
            context: false,
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

impl TlsWish {
    /// What a client is told: `tcp://127.0.0.1:42001`.
    pub fn url(&self) -> String {
        let port = self.listen.port();
        match (self.hosts.first(), self.listen.ip()) {
            (Some(host), _) if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) => {
                format!("tcp://[{host}]:{port}")
            }
            (Some(host), _) => format!("tcp://{host}:{port}"),
            (None, ip) if ip.is_unspecified() => format!("tcp://127.0.0.1:{port}"),
            (None, _) => format!("tcp://{}", self.listen),
        }
    }

    /// What the server's certificate stands for.
    fn server_names(&self, machine: &str) -> Vec<String> {
        let mut names: Vec<String> = [machine, "localhost", "127.0.0.1", "::1"]
            .into_iter()
            .chain(self.hosts.iter().map(String::as_str))
            .map(str::to_owned)
            .collect();
        if !self.listen.ip().is_unspecified() {
            names.push(self.listen.ip().to_string());
        }
        let mut seen = Vec::new();
        for name in names {
            if !seen.contains(&name) {
                seen.push(name);
            }
        }
        seen
    }
}

/// The name in client certificates that opens this machine and no other: ids are never reused.
pub fn client_name(machine: Uuid) -> String {
    format!("{machine}.client.berth.internal")
}

/// The wish, or that there is none.
///
/// # Errors
/// [`Error::NoTls`].
pub fn wish(record: &Record) -> Result<&TlsWish> {
    // One without a port is on its way to be made.
    let wish = record.tls.as_ref();
    wish.filter(|wish| wish.listen.port() != ANY_PORT)
        .ok_or_else(|| Error::NoTls(record.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(listen: &str, hosts: &[&str]) -> TlsWish {
        TlsWish {
            listen: listen.parse().unwrap(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            by_engine: false,
            context: false,
        }
    }

    #[test]
    fn a_client_is_told_an_address_that_it_can_reach_and_that_the_server_can_prove() {
        for (listen, hosts, url) in [
            ("127.0.0.1:42001", &[][..], "tcp://127.0.0.1:42001"),
            ("[::1]:42001", &[], "tcp://[::1]:42001"),
            ("0.0.0.0:2376", &[], "tcp://127.0.0.1:2376"),
            ("0.0.0.0:2376", &["build.lan"], "tcp://build.lan:2376"),
            ("[::]:2376", &["fd00::7"], "tcp://[fd00::7]:2376"),
        ] {
            let wish = wish(listen, hosts);
            assert_eq!(wish.url(), url);
            let host = url.trim_start_matches("tcp://").rsplit_once(':').unwrap().0;
            let host = host.trim_matches(['[', ']']).to_owned();
            assert!(wish.server_names("web1").contains(&host), "{host}");
        }
    }

    #[test]
    fn no_name_is_in_a_certificate_twice() {
        let names = wish("127.0.0.1:1", &["localhost", "web1"]).server_names("web1");
        assert_eq!(names, ["web1", "localhost", "127.0.0.1", "::1"]);
    }
}
