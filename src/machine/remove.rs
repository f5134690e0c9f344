//! Removing a machine, complete or not, without a trace.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use berth_driver_api::Progress;

use super::journal::Journal;
use super::{Berth, Error, Opened, Record, Result, check_name};
use crate::store;
use crate::supervisor;

/// Removes the VM, its supervisor, its context and its files. `force` removes even a machine whose record cannot be
/// read or whose driver cannot be asked; then only what is on this computer's disk goes.
///
/// # Errors
/// [`Error::NoSuchMachine`], or what a step failed with; a second try goes on from there.
pub async fn remove(berth: &Berth, name: &str, force: bool, progress: &dyn Progress) -> Result<()> {
    let folder = berth.home.machine(name);
    if check_name(name).is_err() || !folder.path().exists() {
        return Err(berth.no_such_machine(name));
    }
    let doing = format!("rm {name}");
    let lock = berth.lock(name, &doing, |who| progress.note(who)).await?;
    match Record::read(&folder) {
        Ok(Some(record)) => {
            let opened = berth.open_record(record).await;
            match opened {
                Ok(opened) => remove_parts(berth, &opened, force, progress).await?,
                Err(error) if force => progress.note(&format!("{error}; its files are removed")),
                Err(error) => return Err(error),
            }
        }
        // Someone else removed it while we waited for the lock.
        Ok(None) if !folder.path().exists() => {
            lock.remove()?;
            return Err(berth.no_such_machine(name));
        }
        Ok(None) => {}
        Err(error) if force => progress.note(&format!("{error}; its files are removed")),
        Err(error) => return Err(error),
    }
    // The record goes first and at once, so that no half-removed machine is listed.
    let doomed = berth.home.machines().join(format!(".rm-{name}"));
    remove_folder(&doomed)?;
    fs::rename(folder.path(), &doomed).map_err(store::Error::io(folder.path()))?;
    remove_folder(&doomed)?;
    Ok(lock.remove()?)
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
    journal
        .always("context", async {
            Ok::<_, Error>(berth.docker.remove(name, opened.record.id)?)
        })
        .await?;
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
        .always("supervisor", async { supervisor::gone(opened).await })
        .await?;
    if opened.machine.sockets != opened.folder.path() {
        remove_folder(&opened.machine.sockets)?;
    }
    journal.reached("files")?;
    Ok(())
}

fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(store::Error::io(path)(error).into())
        }
        _ => Ok(()),
    }
}
