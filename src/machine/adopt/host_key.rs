//! The host key of a machine that brought its own: pinned, shown, and replaced only when the user says so.

use berth_driver_api::{Access, Progress};
use berth_provision::Error as ProvisionError;
use berth_provision::ssh::{HostKey, find_host_key, fingerprint, learn_host_key};
use serde::Serialize;

use super::HOST_KEY_DEADLINE;
use crate::context::ssh_config;
use crate::machine::{Berth, Error, Opened, Result, endpoint};
use crate::store;

/// Writes the host's keys into the machine's known_hosts: those that are known, or else the one that it shows now.
pub(super) async fn pin(opened: &Opened, access: &Access, progress: &dyn Progress) -> Result<()> {
    let known_hosts = opened.folder.known_hosts();
    if known_hosts.exists() {
        return Ok(());
    }
    let name = &opened.record.name;
    let failed = Error::provision(name);
    let lines = match (&access.fingerprint, access.host_keys.as_slice()) {
        (None, []) => {
            progress.phase("Meeting the host");
            let key = shown(opened, None).await?;
            progress.note(&format!(
                "{name} shows the host key {} {}, which is accepted from now on; to be sure, compare it with \
                 `ssh-keygen -lf` of its /etc/ssh/ssh_host_*_key.pub",
                key.algorithm, key.fingerprint
            ));
            vec![line(name, &key)]
        }
        (Some(wanted), _) => vec![line(name, &shown(opened, Some(wanted)).await?)],
        (None, known) => {
            let mut lines = Vec::new();
            for key in known {
                let fingerprint = fingerprint(key).map_err(Error::provision(name))?;
                tracing::debug!(fingerprint, "known already");
                lines.push(format!("{} {key}\n", ssh_config::alias(name)));
            }
            lines
        }
    };
    if lines.iter().any(|line| line.trim().contains('\n')) {
        return Err(failed(ProvisionError::HostKeyUnknown {
            host: name.clone(),
            known_hosts,
        }));
    }
    Ok(store::write_private(
        &known_hosts,
        lines.concat().as_bytes(),
    )?)
}

/// The key that the host shows, or the one of its keys with that fingerprint.
async fn shown(opened: &Opened, wanted: Option<&str>) -> Result<HostKey> {
    let target = opened.target().await?;
    let (host, port, jump) = (&*target.host, target.port, &*target.jump);
    let shown = match wanted {
        Some(wanted) => find_host_key(host, port, jump, wanted, HOST_KEY_DEADLINE).await,
        None => learn_host_key(host, port, jump, HOST_KEY_DEADLINE).await,
    };
    shown.map_err(Error::provision(&opened.record.name))
}

fn line(name: &str, key: &HostKey) -> String {
    let alias = ssh_config::alias(name);
    format!("{alias} {} {}\n", key.algorithm, key.base64)
}

/// A machine's host keys, recorded and shown.
#[derive(Debug, Clone, Serialize)]
pub struct HostKeys {
    /// The machine's name.
    pub name: String,
    /// Types and fingerprints that are accepted: `ssh-ed25519 SHA256:…`.
    pub accepted: Vec<String>,
    /// The one that the machine shows now; none if it does not answer.
    pub shown: Option<String>,
}

/// Which host keys a machine has by its record, and which it shows.
///
/// # Errors
/// If its known_hosts cannot be read.
pub async fn host_keys(berth: &Berth, name: &str) -> Result<HostKeys> {
    let opened = berth.open(name).await?;
    let path = opened.folder.known_hosts();
    let text = std::fs::read_to_string(&path).map_err(store::Error::io(&path))?;
    let accepted = text.lines().filter_map(|line| {
        let (_, key) = line.split_once(' ')?;
        let kind = key.split(' ').next()?;
        Some(format!("{kind} {}", fingerprint(key).ok()?))
    });
    let accepted = accepted.collect();
    let shown = shown(&opened, None).await.ok();
    Ok(HostKeys {
        name: name.to_owned(),
        accepted,
        shown: shown.map(|key| format!("{} {}", key.algorithm, key.fingerprint)),
    })
}

/// Accepts another host key of a machine from now on, and only that: the one with this `SHA256:…` fingerprint.
///
/// # Errors
/// [`ProvisionError::OtherHostKey`] if the machine does not show it.
pub async fn accept_host_key(
    berth: &Berth,
    name: &str,
    wanted: &str,
    progress: &dyn Progress,
) -> Result<()> {
    berth.record(name)?;
    let doing = format!("host-key {name}");
    let _lock = berth.lock(name, &doing, |who| progress.note(who)).await?;
    let opened = berth.open(name).await?;
    let key = shown(&opened, Some(wanted)).await?;
    let line = line(name, &key);
    store::write_private(&opened.folder.known_hosts(), line.as_bytes())?;
    // A connection to what had the old key is not to be trusted any more; `berth start` opens the endpoint again.
    if endpoint::is_open(&opened) {
        endpoint::end(&opened).await?;
        endpoint::ensure(&opened).await?;
    }
    Ok(())
}
