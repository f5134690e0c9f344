//! The CA of a berth home: its certificates are files, its key is a secret.
//!
//! A CA is replaced long before it ends. The one before stays trusted until everything that it signed has ended, so
//! that nobody is locked out who has a valid certificate.

use std::fs;
use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

use berth_provision::certs::{self, Authority, Certificate, LEAF_LIFE, Pair, SKEW};
use sha2::{Digest, Sha256};

use crate::machine::{Error, Result};
use crate::secrets::Secrets;
use crate::store::{self, Home, Lock};

/// How long a berth waits for another one that signs.
const LOCK_DEADLINE: Duration = Duration::from_secs(60);

/// The CA certificates that are trusted, the one that signs first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust(Vec<Certificate>);

impl Trust {
    /// Reads them; `None` if there is no CA yet.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(home: &Home) -> Result<Option<Self>> {
        let path = home.ca().join("ca.pem");
        let pem = match fs::read(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(store::Error::io(&path)(error).into()),
        };
        let damaged = |reason: String| store::Error::Damaged {
            path: path.clone(),
            reason,
        };
        let all = certs::read(&pem).map_err(|error| damaged(error.to_string()))?;
        if all.is_empty() {
            return Err(damaged("it has no certificate".into()).into());
        }
        Ok(Some(Trust(all)))
    }

    /// The certificates, the one that signs first.
    pub fn certificates(&self) -> &[Certificate] {
        &self.0
    }

    /// The subject of the CA that signs.
    pub fn signer(&self) -> &str {
        self.0.first().map_or("", |current| &current.subject)
    }

    /// As a file for clients and servers.
    pub fn pem(&self) -> String {
        self.0.iter().map(|each| each.pem.as_str()).collect()
    }

    /// True once the CA that signs is to be replaced.
    pub fn is_due(&self, now: SystemTime) -> bool {
        self.0.first().is_none_or(|current| current.is_due(now))
    }

    /// Those that may still have signed something valid when `next` takes over.
    fn followed_by(self, next: Certificate, now: SystemTime) -> Self {
        let mut kept = vec![next];
        for each in self.0 {
            let replaced = kept.last().map_or(now, |later| later.not_before + SKEW);
            if now < replaced + LEAF_LIFE {
                kept.push(each);
            }
        }
        Trust(kept)
    }
}

/// What is to be done to the CA before it signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing, unless there is none yet or it ends too soon.
    IfDue,
    /// A new one; the old one stays trusted until what it signed has ended.
    Replace,
    /// A new one, and nothing that was signed before is trusted any more.
    Revoke,
}

/// The lock of those who sign.
///
/// # Errors
/// [`Error::CaBusy`] if another berth signs for a minute.
pub async fn lock(home: &Home) -> Result<Lock> {
    store::create_private_folder(&home.ca())?;
    let path = home.ca().join("lock");
    let lock = Lock::take(&path, "certs", LOCK_DEADLINE, |_| {}).await?;
    lock.map_err(|_| Error::CaBusy)
}

/// The CA that signs, made or replaced first where that is due. Whoever calls has the [`lock`].
///
/// # Errors
/// [`Error::CaKeyMissing`], and what reading and writing fails with.
pub fn open(
    home: &Home,
    secrets: &Secrets,
    change: Change,
    now: SystemTime,
) -> Result<(Authority, Trust)> {
    let before = match change {
        // What cannot be read is not trusted any more either.
        Change::Revoke => Trust::read(home).unwrap_or_default(),
        _ => Trust::read(home)?,
    };
    let trust = match before {
        Some(trust) if change == Change::IfDue && !trust.is_due(now) => trust,
        before => make(home, secrets, before, change, now)?,
    };
    let Some(current) = trust.0.first() else {
        return Err(Error::CaKeyMissing);
    };
    let key = secrets.get(&key_name(current))?;
    let key = key.and_then(|key| String::from_utf8(key).ok());
    let ca = Pair {
        certificate: current.pem.clone(),
        key: key.ok_or(Error::CaKeyMissing)?,
    };
    Ok((Authority::load(&ca)?, trust))
}

fn make(
    home: &Home,
    secrets: &Secrets,
    before: Option<Trust>,
    change: Change,
    now: SystemTime,
) -> Result<Trust> {
    let made = Authority::make(now)?;
    let next = Authority::load(&made)?.certificate().clone();
    let retired = before.as_ref().and_then(|trust| trust.0.first().cloned());
    let trust = match before {
        Some(before) if change != Change::Revoke => before.followed_by(next.clone(), now),
        _ => Trust(vec![next.clone()]),
    };
    // The key first and the old key last: wherever this breaks off, the file names a CA whose key is there.
    secrets.put(&key_name(&next), made.key.as_bytes())?;
    store::write_private(&home.ca().join("ca.pem"), trust.pem().as_bytes())?;
    if let Some(retired) = retired
        && let Err(error) = secrets.remove(&key_name(&retired))
    {
        // The new CA signs already; a key that signs nothing any more is not worth a failure.
        tracing::warn!(%error, "the old CA's key is still there");
    }
    Ok(trust)
}

/// The name of a CA's key among the secrets, made of its public half.
fn key_name(certificate: &Certificate) -> String {
    let digest = Sha256::digest(&certificate.public_key);
    let short: String = digest[..8].iter().map(|b| format!("{b:02x}")).collect();
    format!("ca-{short}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    struct Place {
        _folder: tempfile::TempDir,
        home: Home,
        secrets: Secrets,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let home = Home::of_test(folder.path());
            store::create_private_folder(&home.ca()).unwrap();
            Place {
                secrets: Secrets::of(&home),
                home,
                _folder: folder,
            }
        }

        fn open(&self, change: Change, now: SystemTime) -> Result<(Authority, Trust)> {
            open(&self.home, &self.secrets, change, now)
        }

        fn keys(&self) -> usize {
            fs::read_dir(self.home.secrets()).unwrap().count()
        }
    }

    fn subjects(trust: &Trust) -> Vec<&str> {
        let all = trust.certificates().iter();
        all.map(|each| each.subject.as_str()).collect()
    }

    #[test]
    fn a_ca_is_made_once_and_replaced_long_before_it_ends() {
        let place = Place::new();
        let now = SystemTime::now();
        let (ca, first) = place.open(Change::IfDue, now).unwrap();
        assert_eq!(first.signer(), ca.certificate().subject);
        assert_eq!(
            place.open(Change::IfDue, now + DAY * 2000).unwrap().1,
            first
        );

        // Less than a third of its ten years is left: the next one signs, and both are trusted.
        let later = now + DAY * 2600;
        let (_, both) = place.open(Change::IfDue, later).unwrap();
        assert_eq!(both.certificates().len(), 2);
        assert_eq!(subjects(&both)[1], first.signer());
        assert_eq!(place.open(Change::IfDue, later + DAY).unwrap().1, both);
        assert_eq!(place.keys(), 1, "a key that signs nothing any more is gone");
    }

    #[test]
    fn an_old_ca_is_trusted_as_long_as_something_of_its_may_be_valid() {
        let place = Place::new();
        let now = SystemTime::now();
        let (_, first) = place.open(Change::IfDue, now).unwrap();
        place.open(Change::Replace, now + DAY).unwrap();
        let (_, three) = place.open(Change::Replace, now + DAY * 300).unwrap();
        assert_eq!(three.certificates().len(), 3);
        assert_eq!(subjects(&three)[2], first.signer());
        // What the first one signed on its last day has ended, what the second one did has not.
        let (_, left) = place.open(Change::Replace, now + DAY * 400).unwrap();
        assert_eq!(left.certificates().len(), 3);
        assert!(!subjects(&left).contains(&first.signer()));
        let (_, only) = place.open(Change::Revoke, now + DAY * 401).unwrap();
        assert_eq!(only.certificates().len(), 1);
        assert_eq!(Trust::read(&place.home).unwrap(), Some(only));
    }

    #[test]
    fn a_key_that_is_gone_is_told_and_a_new_ca_mends_it() {
        let place = Place::new();
        let now = SystemTime::now();
        let (_, first) = place.open(Change::IfDue, now).unwrap();
        fs::remove_dir_all(place.home.secrets()).unwrap();
        let lost = place.open(Change::IfDue, now);
        assert!(matches!(lost, Err(Error::CaKeyMissing)));
        let (_, both) = place.open(Change::Replace, now).unwrap();
        assert!(subjects(&both).contains(&first.signer()));
        // A file that was damaged is not replaced by a CA that nobody trusts.
        fs::write(place.home.ca().join("ca.pem"), "oops").unwrap();
        assert!(place.open(Change::IfDue, now).is_err());
        assert!(place.open(Change::Replace, now).is_err());
        assert!(place.open(Change::Revoke, now).is_ok());
    }
}
