//! Making keys, naming keys, and meeting a host key for the first time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use russh::client;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey, PublicKey, PublicKeyOrCertificate};

use super::config::only;
use super::failed::Failed;
use super::reach::reach;
use super::{Hop, host_and_port};
use crate::{Error, Result};

/// A new key: the private half never appears in logs.
pub struct KeyPair {
    /// The private key as OpenSSH writes it to a file.
    pub private_openssh: String,
    /// The public key as one `authorized_keys` line: `ssh-ed25519 AAAA… comment`.
    pub public_openssh: String,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyPair({})", self.public_openssh)
    }
}

/// Makes a new ed25519 key.
///
/// # Errors
/// If the comment cannot be part of a key file.
pub fn generate_key(comment: &str) -> Result<KeyPair> {
    let failed = |error: russh::keys::ssh_key::Error| Error::KeyFile {
        path: "(a new key)".into(),
        detail: error.to_string(),
    };
    let comment: String = comment.chars().filter(|c| !c.is_control()).collect();
    let mut key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)
        .map_err(failed)?;
    key.set_comment(comment);
    Ok(KeyPair {
        private_openssh: key.to_openssh(LineEnding::LF).map_err(failed)?.to_string(),
        public_openssh: key.public_key().to_openssh().map_err(failed)?,
    })
}

/// The `SHA256:…` fingerprint of a public key line, as `ssh-keygen -l` prints it.
///
/// # Errors
/// If it is no public key.
pub fn fingerprint(public_openssh: &str) -> Result<String> {
    let key = PublicKey::from_openssh(public_openssh).map_err(|error| Error::KeyFile {
        path: "(a public key)".into(),
        detail: error.to_string(),
    })?;
    Ok(key.fingerprint(HashAlg::Sha256).to_string())
}

/// A host key as a server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    /// Its type, as in a known_hosts line: `ssh-ed25519`.
    pub algorithm: String,
    /// Its bytes, as in a known_hosts line.
    pub base64: String,
    /// `SHA256:…`.
    pub fingerprint: String,
}

impl HostKey {
    pub(super) fn of(key: &PublicKey) -> Option<(Self, Vec<u8>)> {
        let blob = key.to_bytes().ok()?;
        let algorithm = match key.algorithm() {
            Algorithm::Rsa { .. } => "ssh-rsa".to_owned(),
            algorithm => algorithm.as_str().to_owned(),
        };
        let host_key = HostKey {
            algorithm,
            base64: STANDARD.encode(&blob),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        };
        Some((host_key, blob))
    }

    /// The line that records this key for a host in its known_hosts file.
    pub fn known_hosts_line(&self, host: &str, port: u16) -> String {
        let name = host_and_port(host, port);
        format!("{name} {} {}\n", self.algorithm, self.base64)
    }
}

/// The types of host keys that are asked for one by one.
const KINDS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
];

/// Asks a server, over `jump`, for its host key without logging in. It proves that the server holds the key, and
/// nothing about who the server is: show it to the user, or compare it with what is known.
///
/// # Errors
/// [`Error::Unreachable`] if no SSH server answers within `deadline`; [`Error::JumpHost`].
pub async fn learn_host_key(
    host: &str,
    port: u16,
    jump: &[Hop],
    deadline: Duration,
) -> Result<HostKey> {
    learn(host, port, jump, None, deadline).await
}

/// As [`learn_host_key`], the one of the server's keys that has this `SHA256:…` fingerprint.
///
/// # Errors
/// [`Error::OtherHostKey`] if it shows none such; as [`learn_host_key`].
pub async fn find_host_key(
    host: &str,
    port: u16,
    jump: &[Hop],
    wanted: &str,
    deadline: Duration,
) -> Result<HostKey> {
    let mut offered: Vec<String> = Vec::new();
    // The one that it likes best tells whether it is there at all.
    for kind in [None].into_iter().chain(KINDS.iter().map(Some)) {
        match learn(host, port, jump, kind, deadline).await {
            Ok(key) if key.fingerprint == wanted => return Ok(key),
            Ok(key) => {
                let shown = format!("{} {}", key.algorithm, key.fingerprint);
                if !offered.contains(&shown) {
                    offered.push(shown);
                }
            }
            // It has no key of this type.
            Err(Error::Unreachable { .. }) if kind.is_some() => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::OtherHostKey {
        host: host_and_port(host, port),
        wanted: wanted.to_owned(),
        offered: offered.join(", "),
    })
}

async fn learn(
    host: &str,
    port: u16,
    jump: &[Hop],
    kind: Option<&Algorithm>,
    deadline: Duration,
) -> Result<HostKey> {
    let unreachable = |last: String| Error::Unreachable {
        host: host_and_port(host, port),
        after: deadline,
        last,
    };
    let seen = Arc::new(Mutex::new(None));
    let watcher = Watcher { seen: seen.clone() };
    let attempt = async {
        let way = reach(host, port, jump, deadline).await?;
        // The watcher refuses every key, so this ends in an error as soon as the key was seen.
        let looked = async {
            let connected = client::connect_stream(only(kind), way.wire, watcher).await;
            Err::<(), _>(Failed::Passing(match connected {
                Ok(_) => "it accepted a refused key".to_owned(),
                Err(error) => error.to_string(),
            }))
        };
        way.greeting.before(looked).await
    };
    let outcome = tokio::time::timeout(deadline, Box::pin(attempt))
        .await
        .unwrap_or_else(|_| Err(Failed::Passing("no answer".to_owned())));
    let learned = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (learned, outcome) {
        (Some(key), _) => Ok(key),
        (None, Err(Failed::Final(error))) => Err(error),
        (None, Err(Failed::Passing(last))) => Err(unreachable(last)),
        (None, Ok(())) => Err(unreachable(String::new())),
    }
}

/// Takes note of the server's key and goes no further.
struct Watcher {
    seen: Arc<Mutex<Option<HostKey>>>,
}

impl client::Handler for Watcher {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        offered: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let learned = HostKey::of(&offered.public_key()).map(|(key, _)| key);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = learned;
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_ed25519_and_hides_its_private_half() {
        let pair = generate_key("berth m1\n").unwrap();
        assert!(pair.public_openssh.starts_with("ssh-ed25519 AAAA"));
        assert!(pair.public_openssh.ends_with(" berth m1"));
        assert!(
            pair.private_openssh
                .starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n")
        );
        assert!(!format!("{pair:?}").contains("PRIVATE"));
        let read = PrivateKey::from_openssh(&pair.private_openssh).unwrap();
        assert_eq!(read.public_key().to_openssh().unwrap(), pair.public_openssh);
        assert!(
            fingerprint(&pair.public_openssh)
                .unwrap()
                .starts_with("SHA256:")
        );
        assert!(fingerprint("ssh-ed25519 garbage").is_err());
    }
}
