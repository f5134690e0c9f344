//! A machine's first traces: its lock, and the folder that makes it exist.

use std::fs;
use std::path::Path;

use super::journal::Journal;
use super::{Berth, Error, Record, Result};
use crate::store::{self, Lock, create_private_folder};

/// The lock of a machine that is about to be made.
///
/// # Errors
/// [`Error::Busy`].
pub(super) fn take_lock(berth: &Berth, name: &str) -> Result<Lock> {
    Lock::try_take(&berth.home.lock(name), &format!("create {name}"))?.map_err(|holder| {
        Error::Busy {
            name: name.to_owned(),
            holder,
        }
    })
}

/// Makes the machine's folder with its record, its journal and what `more` puts there in it, in one rename: from then
/// on it exists.
pub(super) fn found_folder(
    berth: &Berth,
    record: &Record,
    more: impl FnOnce(&Path) -> store::Result<()>,
) -> Result<()> {
    if record.waits() {
        store::link(&berth.home, &record.name, record.id)?;
    }
    let folder = berth.home.machine(&record.name);
    let draft = berth.home.draft(&record.name);
    // A berth that was killed at this point left one.
    store::remove_folder(&draft)?;
    create_private_folder(&draft.join("vm"))?;
    let drafted = (|| {
        store::write_toml(&draft.join("machine.toml"), record)?;
        let origin = format!("{} {}\n", record.driver, record.id);
        store::write_private(&draft.join("origin"), origin.as_bytes())?;
        more(&draft)?;
        Journal::begin(&draft.join("journal"), "create")?;
        fs::rename(&draft, folder.path()).map_err(store::Error::io(folder.path()))
    })();
    if drafted.is_err() {
        let _ = store::remove_folder(&draft);
        if record.waits() {
            let _ = store::remove_entry(&berth.home.entry(&record.name));
        }
    }
    Ok(drafted?)
}

/// A folder for sockets outside the home lies where others can write: it must be ours alone.
pub(super) fn safe_sockets(folder: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    create_private_folder(folder)?;
    let meta = fs::symlink_metadata(folder).map_err(store::Error::io(folder))?;
    let ours =
        meta.is_dir() && meta.uid() == nix::unistd::getuid().as_raw() && meta.mode() & 0o077 == 0;
    if ours {
        Ok(())
    } else {
        Err(Error::UnsafeFolder(folder.to_owned()))
    }
}
