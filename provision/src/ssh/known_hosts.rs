//! A machine's own known_hosts file, read by equality alone.
//!
//! The file is berth's: `host[,host] keytype base64 [comment]` lines. Nothing else is understood on purpose: no
//! patterns, no hashed names, no authorities. A line that is not understood accepts nothing.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use russh::keys::Algorithm;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// The keys recorded for one host.
#[derive(Debug, Clone)]
pub(super) struct Pinned {
    keys: Vec<(String, Vec<u8>)>,
}

impl Pinned {
    /// Reads what `file` records for `name`.
    pub(super) async fn read(file: &Path, name: &str) -> Result<Self> {
        let text = tokio::fs::read_to_string(file)
            .await
            .map_err(Error::io(file))?;
        let pinned = Self::parse(&text, name);
        if pinned.keys.is_empty() {
            return Err(Error::HostKeyUnknown {
                host: name.to_owned(),
                known_hosts: file.to_owned(),
            });
        }
        Ok(pinned)
    }

    fn parse(text: &str, name: &str) -> Self {
        let mut keys = Vec::new();
        let mut revoked = Vec::new();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let mut first = words.next().unwrap_or_default();
            let is_revoked = first == "@revoked";
            if is_revoked {
                first = words.next().unwrap_or_default();
            }
            let (Some(kind), Some(blob)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(blob) = STANDARD.decode(blob) else {
                continue;
            };
            if is_revoked {
                revoked.push(blob);
            } else if first.split(',').any(|host| host == name) {
                keys.push((kind.to_owned(), blob));
            }
        }
        keys.retain(|(_, blob)| !revoked.contains(blob));
        Pinned { keys }
    }

    /// True if exactly this key is recorded.
    pub(super) fn accepts(&self, kind: &str, blob: &[u8]) -> bool {
        self.keys
            .iter()
            .any(|(known_kind, known)| known_kind == kind && known == blob)
    }

    /// Types and fingerprints of the recorded keys, for messages.
    pub(super) fn fingerprints(&self) -> String {
        let keys = self.keys.iter().map(|(kind, blob)| {
            let digest = STANDARD_NO_PAD.encode(Sha256::digest(blob));
            format!("{kind} SHA256:{digest}")
        });
        keys.collect::<Vec<_>>().join(" or ")
    }

    /// The signature algorithms that the recorded keys can make, for the server to choose among: a server that
    /// has several keys must show the one that we know.
    pub(super) fn algorithms(&self, all: &[Algorithm]) -> Vec<Algorithm> {
        all.iter()
            .filter(|algorithm| {
                self.keys.iter().any(|(kind, _)| {
                    kind == algorithm.as_str()
                        || (kind == "ssh-rsa" && matches!(algorithm, Algorithm::Rsa { .. }))
                })
            })
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn accepted(text: &str, name: &str) -> bool {
        let blob = STANDARD.decode(KEY).unwrap();
        Pinned::parse(text, name).accepts("ssh-ed25519", &blob)
    }

    #[test]
    fn only_equality_is_accepted() {
        let plain = format!("# ours\n\nm1,[127.0.0.1]:42000 ssh-ed25519 {KEY} a comment\n");
        assert!(accepted(&plain, "m1"));
        assert!(accepted(&plain, "[127.0.0.1]:42000"));
        assert!(!accepted(&plain, "127.0.0.1"));
        assert!(!accepted(&plain, "m"));
        assert!(accepted(&format!("m1\tssh-ed25519\t{KEY}\r\n"), "m1"));
    }

    #[test]
    fn patterns_authorities_and_garbage_accept_nothing() {
        for line in [
            format!("* ssh-ed25519 {KEY}"),
            format!("m* ssh-ed25519 {KEY}"),
            format!("@cert-authority m1 ssh-ed25519 {KEY}"),
            format!("m1 ssh-rsa {KEY}"),
            format!("m1 ssh-ed25519 {KEY}="),
            "m1 ssh-ed25519".to_owned(),
            "m1".to_owned(),
            format!(
                "|1|JfKTdBh7rNbXkVAQCRp4OQoPfmI=|USECr3SWf1JUPsms5AqfD5QfxkM= ssh-ed25519 {KEY}"
            ),
        ] {
            assert!(!accepted(&line, "m1"), "{line}");
        }
    }

    #[test]
    fn a_revoked_key_is_refused_wherever_it_stands() {
        let text = format!("m1 ssh-ed25519 {KEY}\n@revoked other ssh-ed25519 {KEY}\n");
        assert!(!accepted(&text, "m1"));
    }

    #[test]
    fn a_second_key_of_the_same_type_counts() {
        let other = KEY.replace("Jd", "Ke");
        assert!(accepted(
            &format!("m1 ssh-ed25519 {other}\nm1 ssh-ed25519 {KEY}\n"),
            "m1"
        ));
    }
}
