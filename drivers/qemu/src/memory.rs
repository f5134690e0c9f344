//! The memory of a suspended machine, on disk.
//!
//! The file has its name only when it is whole, and loses it before the guest runs again: while it is there the
//! machine is suspended, whatever QEMU still lives, and once it is gone the disk may change.

use std::fs::File;
use std::path::PathBuf;

use berth_driver_api::record::KeptRecord;
use berth_driver_api::{Error, Machine, Result, files};
use serde::{Deserialize, Serialize};

use crate::hardware::Hardware;
use crate::names::MEMORY;

/// What the memory needs around it: `memory.toml`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Frozen {
    #[serde(flatten)]
    pub(crate) hardware: Hardware,
    /// What another version of berth wrote.
    #[serde(flatten)]
    pub(crate) others: toml::Table,
}

impl KeptRecord for Frozen {
    const FILE: &str = "memory.toml";
}

impl Frozen {
    /// What is needed to go on; `None` if the machine is not frozen.
    pub(crate) fn of(machine: &Machine) -> Result<Option<Self>> {
        match is_frozen(machine) {
            true => Frozen::existing(machine).map(Some),
            false => Ok(None),
        }
    }
}

/// Its file.
pub(crate) fn file(machine: &Machine) -> PathBuf {
    machine.file(MEMORY)
}

/// Whether the machine's memory lies on disk, whole.
pub(crate) fn is_frozen(machine: &Machine) -> bool {
    file(machine).exists()
}

/// Gives up what was frozen, durably: memory must never meet a disk that has changed since.
pub(crate) fn forget(machine: &Machine) -> Result<()> {
    let memory = file(machine);
    files::remove(&files::unfinished(&memory))?;
    if memory.exists() {
        files::remove(&memory)?;
        File::open(&machine.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(Error::io(&machine.folder))?;
    }
    files::remove(&machine.file(Frozen::FILE))
}
