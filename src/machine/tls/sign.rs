//! Making a machine's certificates: at first, before they end, and when the user says so.

use std::time::SystemTime;

use berth_provision::certs::{self, Pair};

use super::authority::{self, Change, Trust};
use super::files::{Files, certificate};
use super::{TlsWish, client_name, wish};
use crate::machine::{Berth, Error, Record, Result};

/// Makes what is missing, wrong or due among a machine's certificates; true if anything was. Keys are kept.
///
/// # Errors
/// [`Error::NoTls`] if the machine has no TLS endpoint, [`Error::CaKeyMissing`], or what a file operation fails with.
pub async fn refresh(berth: &Berth, record: &Record) -> Result<bool> {
    let now = SystemTime::now();
    let wish = wish(record)?;
    let folder = berth.home.machine(&record.name);
    // Without a lock and without the CA's key: this is what nearly every call comes to.
    if let (Some(trust), Some(files)) = (Trust::read(&berth.home)?, Files::read(&folder)?)
        && is_current(&files, &trust, record, wish, now)
    {
        return Ok(false);
    }
    sign(berth, record, Change::IfDue, false).await?;
    Ok(true)
}

/// Makes a machine's certificates anew, keys included.
///
/// # Errors
/// As [`refresh`].
pub async fn renew(berth: &Berth, record: &Record) -> Result<()> {
    wish(record)?;
    sign(berth, record, Change::IfDue, true).await
}

/// Replaces the CA. Every machine's certificates are to be renewed after it.
///
/// # Errors
/// If the new one cannot be written.
pub async fn replace_ca(berth: &Berth, revoke: bool) -> Result<()> {
    let _lock = authority::lock(&berth.home).await?;
    let change = match revoke {
        true => Change::Revoke,
        false => Change::Replace,
    };
    open_ca(berth, change).await.map(drop)
}

async fn sign(berth: &Berth, record: &Record, change: Change, new_keys: bool) -> Result<()> {
    let wish = wish(record)?;
    let folder = berth.home.machine(&record.name);
    let _lock = authority::lock(&berth.home).await?;
    let (ca, trust) = open_ca(berth, change).await?;
    let now = SystemTime::now();
    let before = Files::read(&folder)?;
    let servers = wish.server_names(&record.name);
    let clients = [client_name(record.id)];
    let pair = |old: Option<&Pair>, names: &[String], server: bool| {
        if let Some(old) = old.filter(|old| !new_keys && is_right(old, names, &trust, now)) {
            return Ok(old.clone());
        }
        // A key that cannot be read is not kept.
        let key = old.filter(|old| {
            !new_keys && certificate(old).is_some_and(|c| certs::is_pair(&c, &old.key))
        });
        let key = key.map(|old| old.key.as_str());
        match server {
            true => ca.server(names, key, now),
            false => ca.client(names, key, now),
        }
    };
    let files = Files {
        server: pair(before.as_ref().map(|files| &files.server), &servers, true)?,
        client: pair(before.as_ref().map(|files| &files.client), &clients, false)?,
        ca: trust.pem(),
    };
    files.write(&folder)?;
    berth.refresh_context(record)
}

/// Opens the CA away from the runtime's threads: a keyring may take its time.
async fn open_ca(berth: &Berth, change: Change) -> Result<(certs::Authority, Trust)> {
    let (home, secrets) = (berth.home.clone(), berth.secrets());
    let opening = tokio::task::spawn_blocking(move || {
        authority::open(&home, &secrets, change, SystemTime::now())
    });
    // It ends early only when the runtime does.
    opening.await.map_err(|_| Error::CaKeyMissing)?
}

fn is_current(
    files: &Files,
    trust: &Trust,
    record: &Record,
    wish: &TlsWish,
    now: SystemTime,
) -> bool {
    !trust.is_due(now)
        && files.ca == trust.pem()
        && is_right(&files.server, &wish.server_names(&record.name), trust, now)
        && is_right(&files.client, &[client_name(record.id)], trust, now)
}

fn is_right(pair: &Pair, names: &[String], trust: &Trust, now: SystemTime) -> bool {
    certificate(pair).is_some_and(|found| {
        found.issuer == trust.signer()
            && found.names == names
            && !found.is_due(now)
            && certs::is_pair(&found, &pair.key)
    })
}
