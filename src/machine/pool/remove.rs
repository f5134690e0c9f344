//! Removing a pool with the machines that wait in it.

use std::time::Duration;

use berth_driver_api::Progress;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{FILE, check_name, clear_locks, folder, lock_file, names, waiting};
use crate::machine::{Berth, Error, Result, remove as machine};
use crate::store::{self, Lock};

/// How long whoever fills the pool may take to end once it is told to.
const LEAVE_DEADLINE: Duration = Duration::from_secs(30);

/// Removes the pool; machines that were taken from it stay. What broke off is finished by doing it again.
///
/// # Errors
/// [`Error::NoSuchPool`], or what removing a machine fails with.
pub async fn remove(berth: &Berth, name: &str, progress: &dyn Progress) -> Result<()> {
    let home = &berth.home;
    let there = check_name(name).is_ok()
        && (folder(home, name).exists() || !waiting(home, name)?.is_empty());
    if !there {
        return Err(Error::NoSuchPool {
            name: name.chars().take(80).collect(),
            known: names(home)?,
        });
    }
    progress.phase("Removing");
    store::create_private_folder(&folder(home, name))?;
    // From here on it is no pool: nobody makes machines for it or takes one.
    store::remove_file(&folder(home, name).join(FILE))?;
    let lock = lock_file(home, name);
    if let Some(holder) = store::holder(&lock).filter(|holder| holder.pid > 1) {
        // The lock is held now, so the id in it is its holder's and not a stranger's.
        let _ = kill(Pid::from_raw(holder.pid), Signal::SIGTERM);
    }
    let doing = format!("pool rm {name}");
    let _lock = Lock::take(&lock, &doing, LEAVE_DEADLINE, |_| {})
        .await?
        .map_err(|_| Error::Timeout {
            machine: format!("of pool {name}"),
            what: "the end of the process that fills it".into(),
            after: LEAVE_DEADLINE,
        })?;
    for machine in waiting(home, name)? {
        match machine::remove(berth, &machine, false, progress).await {
            // It was taken, or another berth removed it.
            Ok(()) | Err(Error::NoSuchMachine { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    clear_locks(berth, name)?;
    Ok(store::remove_folder(&folder(home, name))?)
}
