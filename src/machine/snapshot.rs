//! Snapshots of machines: taken, listed, gone back to, removed.

use std::time::Duration;

use berth_driver_api::snapshot::check_name;
use berth_driver_api::{Progress, Snapshot, State};
use jiff::Zoned;

use super::journal::Journal;
use super::operation::{begin, complete, must_be_able};
use super::up::bring_up;
use super::{Berth, Error, Opened, Result, endpoint};

/// What a driver must be able to do for this.
const WHAT: &str = "take snapshots";

/// A machine's snapshots, the oldest first.
///
/// # Errors
/// If its driver has none, or does not tell.
pub async fn snapshots(berth: &Berth, name: &str) -> Result<Vec<Snapshot>> {
    let opened = berth.open(name).await?;
    must_be_able(&opened, opened.driver.info().capabilities.snapshot, WHAT)?;
    all(&opened).await
}

/// Keeps a machine as it is now under `snapshot`, or under the time if that is not given.
///
/// # Errors
/// [`Error::SnapshotExists`]; what the driver fails with.
pub async fn take_snapshot(
    berth: &Berth,
    name: &str,
    snapshot: Option<&str>,
    progress: &dyn Progress,
) -> Result<String> {
    let now = || Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
    let snapshot = snapshot.map_or_else(now, str::to_owned);
    check_name(&snapshot).map_err(Error::driver(name))?;
    let _lock = begin(berth, "snapshot", name, progress).await?;
    let opened = able(berth, name, progress).await?;
    if all(&opened).await?.iter().any(|one| one.name == snapshot) {
        return Err(Error::SnapshotExists {
            machine: name.to_owned(),
            snapshot,
        });
    }
    let mut journal = Journal::begin(&opened.folder.journal(), "snapshot")?;
    journal
        .always("snapshot", async {
            progress.phase("Taking the snapshot");
            let taken = opened.driver.snapshot(&opened.machine, &snapshot, progress);
            taken.await.map_err(Error::driver(name))
        })
        .await?;
    journal.end()?;
    Ok(snapshot)
}

/// Makes a machine what it was when `snapshot` was taken, its engine to be reached if it ran then.
///
/// # Errors
/// [`Error::NoSuchSnapshot`]; what a step fails with: the same call then does it again.
pub async fn restore_snapshot(
    berth: &Berth,
    name: &str,
    snapshot: &str,
    boot_deadline: Duration,
    progress: &dyn Progress,
) -> Result<()> {
    let _lock = begin(berth, "snapshot", name, progress).await?;
    let opened = able(berth, name, progress).await?;
    must_have(&opened, snapshot).await?;
    let mut journal = Journal::begin(&opened.folder.journal(), "restore")?;
    journal
        .always("power off", async {
            progress.phase("Restoring");
            let off = opened.driver.kill(&opened.machine).await;
            off.map_err(Error::driver(name))?;
            endpoint::gone(&opened).await
        })
        .await?;
    journal
        .always("snapshot", async {
            let restored = opened.driver.restore(&opened.machine, snapshot, progress);
            restored.await.map_err(Error::driver(name))
        })
        .await?;
    journal.end()?;
    let state = opened.driver.state(&opened.machine).await;
    match state.map_err(Error::driver(name))? {
        State::Running => bring_up(berth, &opened, boot_deadline, progress).await,
        _ => Ok(()),
    }
}

/// Removes a snapshot.
///
/// # Errors
/// [`Error::NoSuchSnapshot`]; what the driver fails with.
pub async fn remove_snapshot(
    berth: &Berth,
    name: &str,
    snapshot: &str,
    progress: &dyn Progress,
) -> Result<()> {
    let _lock = begin(berth, "snapshot", name, progress).await?;
    let opened = able(berth, name, progress).await?;
    must_have(&opened, snapshot).await?;
    let mut journal = Journal::begin(&opened.folder.journal(), "snapshot rm")?;
    journal
        .always("snapshot", async {
            progress.phase("Removing the snapshot");
            let removed = opened.driver.remove_snapshot(&opened.machine, snapshot);
            removed.await.map_err(Error::driver(name))
        })
        .await?;
    Ok(journal.end()?)
}

async fn able(berth: &Berth, name: &str, progress: &dyn Progress) -> Result<Opened> {
    let opened = complete(berth, name, progress).await?;
    must_be_able(&opened, opened.driver.info().capabilities.snapshot, WHAT)?;
    Ok(opened)
}

async fn all(opened: &Opened) -> Result<Vec<Snapshot>> {
    let told = opened.driver.snapshots(&opened.machine).await;
    told.map_err(Error::driver(&opened.record.name))
}

async fn must_have(opened: &Opened, snapshot: &str) -> Result<()> {
    let all = all(opened).await?;
    if all.iter().any(|one| one.name == snapshot) {
        return Ok(());
    }
    Err(Error::NoSuchSnapshot {
        machine: opened.record.name.clone(),
        snapshot: snapshot.chars().take(80).collect(),
        known: all.into_iter().map(|one| one.name).collect(),
    })
}
