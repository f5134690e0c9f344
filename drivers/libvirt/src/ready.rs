//! Hearing from the guest that it is up.

use std::time::Duration;

use berth_driver_api::ready::Words;
use berth_driver_api::{Error, Machine, Result, files};

use crate::events::Changes;
use crate::hypervisor::{Hypervisor, Hypervisors};
use crate::names::{CONSOLE, READY};
use crate::network;
use crate::record::Record;
use crate::state;

/// Returns when the guest has said `word`, or, where it cannot be heard, when its address is known.
///
/// # Errors
/// If the machine stops meanwhile.
pub(crate) async fn wait_for(
    hypervisors: &Hypervisors,
    hypervisor: &Hypervisor,
    machine: &Machine,
    record: &Record,
    word: &str,
) -> Result<()> {
    let heard = async {
        if !hypervisor.shares_files() {
            return network::address_known(hypervisor, machine, record).await;
        }
        Words::watch(machine.file(READY), &[])?.hear(word).await
    };
    tokio::select! {
        biased;
        heard = heard => heard,
        reason = stopped(hypervisors, machine, record) => {
            let reason = reason?.unwrap_or_else(|| "nobody says why".into());
            let lines = files::last_lines(&machine.file(CONSOLE), 5);
            Err(Error::failed(
                "the machine stopped before it was ready",
                match lines.is_empty() {
                    true => reason,
                    false => format!("{reason}; its console said last:\n{lines}"),
                },
            ))
        }
    }
}

/// How often a daemon is looked for that is gone, as while it is upgraded, before its machines are given up.
const GONE: u32 = 120;

/// How long to wait before a daemon is looked for again.
const AGAIN: Duration = Duration::from_secs(2);

/// Returns when the machine has stopped, and says why. A daemon that is started anew meanwhile is no stop: machines
/// live on without it.
///
/// # Errors
/// If the hypervisor cannot be reached for minutes.
pub(crate) async fn stopped(
    hypervisors: &Hypervisors,
    machine: &Machine,
    record: &Record,
) -> Result<Option<String>> {
    let mut failures = 0;
    loop {
        match look(hypervisors, machine, record) {
            Ok(Look::Stopped(reason)) => return Ok(reason),
            Ok(Look::Up(mut changes)) => {
                failures = 0;
                changes.next().await;
            }
            Err(error) if failures == GONE => return Err(error),
            Err(_) => {
                failures += 1;
                // Nobody tells when a daemon is there again.
                tokio::time::sleep(AGAIN.min(Duration::from_millis(200) * failures)).await;
            }
        }
    }
}

/// A machine at one moment.
enum Look {
    /// It is up, and these are its hypervisor's changes since.
    Up(Changes),
    Stopped(Option<String>),
}

fn look(hypervisors: &Hypervisors, machine: &Machine, record: &Record) -> Result<Look> {
    let hypervisor = hypervisors.get(Some(&record.uri))?;
    // Before it is looked at: what changes after that is told.
    let changes = hypervisor.changes();
    let Some(domain) = hypervisor.domain(machine)? else {
        return Ok(Look::Stopped(Some("its domain was removed".into())));
    };
    match state::of(&domain)?.is_up() {
        true => Ok(Look::Up(changes)),
        false => Ok(Look::Stopped(state::why_stopped(&domain))),
    }
}
