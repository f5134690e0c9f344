//! Removing a machine, complete or not, without a trace.

use std::collections::BTreeMap;
use std::fs;

use berth_driver_api::{Progress, Spec};
use uuid::Uuid;

use super::journal::Journal;
use super::tls;
use super::{Berth, EngineWish, Error, Opened, Record, Result, check_form};
use super::{adopt, endpoint, expiry, pool};
use crate::store::{self, Lock, MachineFolder};

/// Removes the VM, its supervisor, its context and its files. `force` removes even a machine whose record cannot be
/// read or whose driver cannot be asked; then only what is on this computer's disk goes.
///
/// # Errors
/// [`Error::NoSuchMachine`], or what a step failed with; a second try goes on from there.
pub async fn remove(berth: &Berth, name: &str, force: bool, progress: &dyn Progress) -> Result<()> {
    check_form(name)?;
    if !berth.home.has_traces(name) {
        return Err(berth.no_such_machine(name));
    }
    let doing = format!("rm {name}");
    let lock = match berth.lock(name, &doing, |who| progress.note(who)).await {
        // Another berth removed it meanwhile.
        Err(Error::NoSuchMachine { .. }) if force => return Ok(()),
        other => other?,
    };
    remove_locked(berth, name, force, lock, progress).await
}

/// Removes a machine if it is one that goes by itself, and its time is over. False if it stays, or is gone already.
///
/// # Errors
/// As [`remove`].
pub async fn remove_if_over(berth: &Berth, name: &str, progress: &dyn Progress) -> Result<bool> {
    let doing = format!("rm {name}");
    let lock = match berth.lock(name, &doing, |who| progress.note(who)).await {
        Err(Error::NoSuchMachine { .. }) => return Ok(false),
        other => other?,
    };
    match read(berth, name).await? {
        Some(opened) if expiry::is_over(&opened).await => {}
        _ => return Ok(false),
    }
    remove_locked(berth, name, false, lock, progress).await?;
    Ok(true)
}

pub(super) async fn remove_locked(
    berth: &Berth,
    name: &str,
    force: bool,
    lock: Lock,
    progress: &dyn Progress,
) -> Result<()> {
    let folder = berth.home.machine(name);
    let (draft, doomed) = (berth.home.draft(name), berth.home.doomed(name));
    // What a berth left that was killed just before or after there was a machine.
    store::remove_folder(&draft)?;
    store::remove_entry(&doomed)?;
    let mut first_name = None;
    if folder.path().exists() {
        match read(berth, name).await {
            Ok(Some(opened)) => {
                remove_parts(berth, &opened, force, progress).await?;
                first_name = Some(opened.record.first_name().to_owned());
            }
            Ok(None) => {}
            Err(error) if force => {
                progress.note(&format!("{error}; its files are removed"));
                if let Some(opened) = salvage(berth, name).await {
                    remove_parts(berth, &opened, force, progress).await?;
                }
            }
            Err(error) => return Err(error),
        }
        // One rename, so that no half-removed machine is ever listed.
        let entry = berth.home.entry(name);
        fs::rename(&entry, &doomed).map_err(store::Error::io(&entry))?;
        store::remove_entry(&doomed)?;
    } else {
        // The link of a waiting machine that never came to be.
        store::remove_entry(&berth.home.entry(name))?;
    }
    if let Some(first) = first_name.filter(|first| first != name) {
        pool::forget_lock(berth, &first)?;
    }
    Ok(lock.remove()?)
}

async fn read(berth: &Berth, name: &str) -> Result<Option<Opened>> {
    match Record::of(&berth.home, name)? {
        Some(record) => Ok(Some(berth.open_record(record).await?)),
        None => Ok(None),
    }
}

/// A machine whose record cannot be read: its id and its driver are enough for the driver to end it and to give its port
/// back.
async fn salvage(berth: &Berth, name: &str) -> Option<Opened> {
    let folder = berth.home.machine(name);
    let (driver, id) = origin(&folder).or_else(|| made_out(&folder))?;
    let spec = Spec {
        cpus: 1,
        memory: 1,
        disk: 1,
        image: None,
        options: BTreeMap::new(),
    };
    let mut record = Record::new(name, &driver, &spec, EngineWish::parse("none", ""));
    record.id = id;
    berth.open_record(record).await.ok()
}

fn origin(folder: &MachineFolder) -> Option<(String, Uuid)> {
    let text = fs::read_to_string(folder.origin()).ok()?;
    let (driver, id) = text.trim_end().split_once(' ')?;
    Some((driver.to_owned(), id.parse().ok()?))
}

/// The same from the record of a machine that an earlier berth made, as far as it is text.
fn made_out(folder: &MachineFolder) -> Option<(String, Uuid)> {
    let bytes = fs::read(folder.record()).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(" = "));
        let (_, value) = lines.find(|(found, _)| *found == key)?;
        Some(value.trim().trim_matches('"').to_owned())
    };
    Some((value("driver")?, value("id")?.parse().ok()?))
}

async fn remove_parts(
    berth: &Berth,
    opened: &Opened,
    force: bool,
    progress: &dyn Progress,
) -> Result<()> {
    let name = &opened.record.name;
    progress.phase("Removing");
    let mut journal = Journal::begin(&opened.folder.journal(), "rm")?;
    let removed = journal
        .always("context", async { berth.remove_contexts(&opened.record) })
        .await;
    match removed {
        Err(error) if force => progress.note(&format!("{error}; it is left as it is")),
        other => other?,
    }
    let adopted = !opened.driver.info().capabilities.images;
    if adopted {
        match adopt::release(opened, &mut journal, progress).await {
            Err(error) if force => {
                progress.note(&format!("{error}; what berth put on the host stays there"));
            }
            other => other?,
        }
    }
    let removed = journal
        .always("vm", async {
            opened
                .driver
                .remove(&opened.machine)
                .await
                .map_err(Error::driver(name))
        })
        .await;
    match removed {
        Err(error) if force => progress.note(&format!("{error}; its files are removed")),
        other => other?,
    }
    journal
        .always("supervisor", async {
            match adopted {
                // It would follow the host for ever.
                true => endpoint::end(opened).await,
                false => endpoint::gone(opened).await,
            }
        })
        .await?;
    tls::release(berth, &opened.record)?;
    if opened.machine.sockets != opened.folder.path() {
        store::remove_folder(&opened.machine.sockets)?;
    }
    journal.reached("files")?;
    Ok(())
}
