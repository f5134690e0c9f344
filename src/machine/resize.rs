//! Giving a machine other sizes.

use std::time::Duration;

use berth_driver_api::{Progress, Resource, State};

use super::journal::{self, Journal};
use super::operation::{SSH_DEADLINE, begin, complete, must_be_able};
use super::power::take_down;
use super::up::bring_up;
use super::{Berth, Error, Opened, Record, Result, note, show_size};

/// Its name in the journal.
const OPERATION: &str = "resize";

/// The sizes that are asked for; those that are not stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Virtual CPUs.
    pub cpus: Option<u32>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Disk in bytes.
    pub disk: Option<u64>,
}

/// How long a machine may take that is restarted for its new sizes.
#[derive(Debug, Clone, Copy)]
pub struct Restart {
    /// For the guest to shut down.
    pub grace: Duration,
    /// For the guest to answer again.
    pub boot: Duration,
}

/// Gives a machine other sizes, and tells which of them it has only after its next start. What a machine that runs can be
/// given at once, its guest takes up at once; with `restart`, it is off meanwhile and has all of it when this returns.
///
/// # Errors
/// [`Error::BadRequest`] for sizes that it cannot have, [`Error::HasSnapshots`], what the driver fails with.
pub async fn resize(
    berth: &Berth,
    name: &str,
    sizes: &Sizes,
    restart: Option<Restart>,
    progress: &dyn Progress,
) -> Result<Vec<Resource>> {
    let _lock = begin(berth, "resize", name, progress).await?;
    let mut opened = complete(berth, name, progress).await?;
    let can = opened.driver.info().capabilities.resize;
    must_be_able(&opened, can, "resize machines")?;
    let broke_off = journal::pending(&opened.folder.journal())?
        .is_some_and(|pending| pending.operation == OPERATION);
    let mut changed = sizes.changing(&opened.record)?;
    if broke_off {
        // What of it was done is not known.
        changed = sizes.asked();
    }
    sizes.put(&mut opened);
    let refused = Error::driver(name);
    opened
        .driver
        .check(&opened.machine)
        .await
        .map_err(refused)?;
    must_have_no_snapshots(&opened).await?;
    let runs = runs(&opened).await?;
    let mut journal = Journal::begin(&opened.folder.journal(), OPERATION)?;
    if let Some(restart) = restart.filter(|_| runs) {
        journal
            .always("power off", take_down(&opened, restart.grace, progress))
            .await?;
    }
    // The record comes after what it tells: what was asked for in vain is not told.
    let resized = journal.always("size", async {
        progress.phase("Resizing");
        let resized = opened.driver.resize(&opened.machine, progress).await;
        resized.map_err(Error::driver(name))
    });
    let waits = match resized.await {
        Err(error) if is_refusal(&error) => {
            // Nothing was begun that would have to be finished.
            journal.end()?;
            return Err(error);
        }
        waits => waits?,
    };
    journal
        .always("record", async { opened.record.write(&berth.home) })
        .await?;
    note::keep(&opened, progress).await;
    let (waits, at_once): (Vec<_>, Vec<_>) = changed
        .into_iter()
        .partition(|resource| waits.contains(resource));
    match restart {
        Some(restart) if runs => {
            // What begins now is a start, which can be repeated by itself.
            journal.end()?;
            bring_up(berth, &opened, restart.boot, progress).await?;
        }
        _ if runs && !at_once.is_empty() => {
            journal
                .always("guest", async {
                    progress.phase("Having the guest take it up");
                    take_up(&opened, at_once.contains(&Resource::Disk)).await
                })
                .await?;
            journal.end()?;
        }
        _ => journal.end()?,
    }
    Ok(waits)
}

impl Sizes {
    /// True if nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Sizes::default()
    }

    /// What of a machine they change.
    fn changing(&self, record: &Record) -> Result<Vec<Resource>> {
        if self.cpus == Some(0) {
            return Err(Error::BadRequest {
                what: "--cpus".into(),
                reason: "a machine has at least one".into(),
            });
        }
        if let Some(disk) = self.disk.filter(|disk| *disk < record.disk) {
            return Err(Error::BadRequest {
                what: "--disk".into(),
                reason: format!(
                    "{} is less than the {} that it has: disks only grow",
                    show_size(disk),
                    show_size(record.disk)
                ),
            });
        }
        let differs = |resource: &Resource| match resource {
            Resource::Cpus => self.cpus != Some(record.cpus),
            Resource::Memory => self.memory != Some(record.memory),
            Resource::Disk => self.disk != Some(record.disk),
        };
        Ok(self.asked().into_iter().filter(differs).collect())
    }

    fn asked(&self) -> Vec<Resource> {
        let asked = [
            self.cpus.map(|_| Resource::Cpus),
            self.memory.map(|_| Resource::Memory),
            self.disk.map(|_| Resource::Disk),
        ];
        asked.into_iter().flatten().collect()
    }

    fn put(&self, opened: &mut Opened) {
        let (record, spec) = (&mut opened.record, &mut opened.machine.spec);
        record.cpus = self.cpus.unwrap_or(record.cpus);
        record.memory = self.memory.unwrap_or(record.memory);
        record.disk = self.disk.unwrap_or(record.disk);
        (spec.cpus, spec.memory, spec.disk) = (record.cpus, record.memory, record.disk);
    }
}

/// A snapshot is of a machine of its size, and going back to it would undo what the record then tells.
async fn must_have_no_snapshots(opened: &Opened) -> Result<()> {
    let name = &opened.record.name;
    if !opened.driver.info().capabilities.snapshot {
        return Ok(());
    }
    let all = opened.driver.snapshots(&opened.machine).await;
    let all = all.map_err(Error::driver(name))?;
    match all.is_empty() {
        true => Ok(()),
        false => Err(Error::HasSnapshots {
            machine: name.clone(),
            snapshots: all.into_iter().map(|one| one.name).collect(),
        }),
    }
}

/// Whether the driver did nothing because it may not.
fn is_refusal(error: &Error) -> bool {
    use berth_driver_api::Error::{InvalidOption, WrongState};
    let source = match error {
        Error::Driver { source, .. } => source,
        _ => return false,
    };
    matches!(source, WrongState { .. } | InvalidOption { .. })
}

/// Whether it runs; a machine is resized that does, or is off.
async fn runs(opened: &Opened) -> Result<bool> {
    let name = &opened.record.name;
    let state = opened.driver.state(&opened.machine).await;
    match state.map_err(Error::driver(name))? {
        State::Running => Ok(true),
        State::Stopped => Ok(false),
        state => Err(Error::NotRunning {
            name: name.clone(),
            state,
        }),
    }
}

async fn take_up(opened: &Opened, grown: bool) -> Result<()> {
    let disk = if grown { opened.record.disk } else { 0 };
    let session = opened.connect(SSH_DEADLINE).await?;
    let taken = berth_provision::grow(&session, disk).await;
    session.disconnect().await;
    taken.map_err(Error::provision(&opened.record.name))
}
