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
    let before = Trust::read(home)?;
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
