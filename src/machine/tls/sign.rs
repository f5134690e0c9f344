//! Making a machine's certificates: at first, before they end, and when the user says so.

use std::time::SystemTime;

use berth_driver_api::Progress;
use berth_provision::certs::{self, Pair};

use super::authority::{self, Change, Trust};
use super::files::{Files, certificate};
use super::{TlsWish, client_name, enable, wish};
use crate::machine::{Berth, Error, Record, Result};

/// Makes what is missing, wrong or due among a machine's certificates; true if anything was. Keys are kept.
///
/// # Errors
/// [`Error::NoTls`] if the machine has no TLS endpoint, [`Error::CaKeyMissing`], or what a file operation fails with.
pub async fn refresh(berth: &Berth, record: &Record) -> Result<bool> {
    let now = SystemTime::now();
    let wish = wish(record)?;
    if wish.by_engine {
        // It has what it was handed, and has to be restarted for anything else.
        return Ok(false);
    }
    let folder = berth.home.machine(&record.name);
    // Without a lock and without the CA's key: this is what nearly every call comes to.
    if let (Some(trust), Some(files)) = (Trust::read(&berth.home)?, Files::read(&folder)?)
        && is_current(&files, &trust, record, wish, now)
    {
        return Ok(false);
    }
    sign(berth, record, false).await?;
    Ok(true)
}

/// Makes a machine's certificates anew, keys included. An engine that ends TLS itself is handed its new ones.
///
/// # Errors
/// As [`refresh`].
pub async fn renew(berth: &Berth, record: &Record, progress: &dyn Progress) -> Result<()> {
    let wish = wish(record)?;
    if wish.by_engine {
        let renewed = enable(berth, &record.name, wish.clone(), progress).await;
        return renewed.map(drop);
    }
    sign(berth, record, true).await
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

async fn sign(berth: &Berth, record: &Record, new_keys: bool) -> Result<()> {
    let wish = wish(record)?;
    let folder = berth.home.machine(&record.name);
    let _lock = authority::lock(&berth.home).await?;
    let meanwhile = berth.record(&record.name)?.tls;
    if meanwhile.is_some_and(|wish| wish.by_engine) {
        return Ok(());
    }
    let (ca, trust) = open_ca(berth, Change::IfDue).await?;
    let now = SystemTime::now();
    let before = Files::read(&folder)?.filter(|_| !new_keys);
    let servers = wish.server_names(&record.name);
    let server = match before.as_ref().map(|files| &files.server) {
        Some(pair) if is_right(pair, &servers, &trust, now) => pair.clone(),
        pair => ca.server(&servers, pair.and_then(usable_key), now)?,
    };
    let clients = [client_name(record.id)];
    let client = match before.as_ref().map(|files| &files.client) {
        Some(pair) if is_right(pair, &clients, &trust, now) => pair.clone(),
        pair => ca.client(&clients, pair.and_then(usable_key), now)?,
    };
    let ca = trust.pem();
    Files { ca, client, server }.write(&folder)?;
    berth.refresh_context(record)
}

/// The key, unless it is damaged or another certificate's.
fn usable_key(pair: &Pair) -> Option<&str> {
    let found = certificate(pair)?;
    certs::is_pair(&found, &pair.key).then_some(pair.key.as_str())
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
