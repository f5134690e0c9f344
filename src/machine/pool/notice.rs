//! Noticing that a pool is short of machines, and starting the process that makes them.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

use super::{Failure, Pool, lock_file, log_file, names, waiting};
use crate::background;
use crate::machine::{Berth, Result};
use crate::store;

/// The hidden subcommand of `berth pool` that fills one.
pub const REFILL: &str = "refill";

/// A log that has grown over this is begun anew (bytes).
const LONGEST_LOG: u64 = 256 << 10;

/// Whether machines seem to be missing: cheap, no machine is asked.
pub(super) fn is_short(berth: &Berth, pool: &Pool) -> Result<bool> {
    let waiting = waiting(&berth.home, &pool.name)?;
    let alive = waiting.iter().filter(|name| {
        let folder = berth.home.machine(name);
        store::holder(&folder.supervisor_lock()).is_some()
    });
    Ok(alive.count() < pool.ready as usize)
}

/// Has those pools filled, in the background, that seem to be short of machines; not those where that failed a moment
/// ago. Takes no time, and what goes wrong is no other command's matter.
pub fn notice(berth: &Berth) {
    for name in names(&berth.home).unwrap_or_default() {
        let Ok(Some(pool)) = Pool::read(&berth.home, &name) else {
            continue;
        };
        let waits = Failure::read(&berth.home, &name).is_some_and(|failure| failure.is_fresh());
        let busy = store::holder(&lock_file(&berth.home, &name)).is_some();
        if !waits && !busy && is_short(berth, &pool).unwrap_or(false) {
            start(berth, &name);
        }
    }
}

/// Starts a process that fills the pool. If it cannot be started, the next command tries again.
pub fn start(berth: &Berth, name: &str) {
    if let Err(error) = spawn(berth, name) {
        tracing::warn!(error, "pool {name} is not filled");
    }
}

fn spawn(berth: &Berth, name: &str) -> std::result::Result<(), String> {
    let path = log_file(&berth.home, name);
    let grown = std::fs::metadata(&path).is_ok_and(|about| about.len() > LONGEST_LOG);
    let log = OpenOptions::new()
        .create(true)
        .append(!grown)
        .write(true)
        .truncate(grown)
        .mode(0o600)
        .open(&path)
        .map_err(|error| error.to_string())?;
    let started = background::program().and_then(|mut command| {
        command.args(["pool", REFILL, name]);
        background::leave(command, log)
    });
    started.map_err(|error| error.to_string())
}
