//! Hearing from the guest that it is up.

use std::time::Duration;

use berth_driver_api::ready::Words;
use berth_driver_api::{Error, Machine, Result, files};

use crate::hypervisor::{Hypervisor, Hypervisors};
use crate::names::{CONSOLE, READY};
use crate::network;
use crate::power;
use crate::record::Record;

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

/// How long a daemon may be gone, as while it is upgraded, before its machines are given up.
const GONE: u32 = 120;

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
    let mut pause = Duration::from_millis(200);
    let mut failures = 0;
    loop {
        match look(hypervisors, machine, record) {
            Ok(Some(reason)) => return Ok(reason),
            Ok(None) => failures = 0,
            Err(error) if failures == GONE => return Err(error),
            Err(_) => failures += 1,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_secs(2));
    }
}

/// `None` while it is up.
fn look(
    hypervisors: &Hypervisors,
    machine: &Machine,
    record: &Record,
) -> Result<Option<Option<String>>> {
    let hypervisor = hypervisors.get(Some(&record.uri))?;
    let Some(domain) = hypervisor.domain(machine)? else {
        return Ok(Some(Some("its domain was removed".into())));
    };
    match power::state(&domain)?.is_up() {
        true => Ok(None),
        false => Ok(Some(power::why_stopped(&domain))),
    }
}
