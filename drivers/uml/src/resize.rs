//! Another size for a machine that there is.

use berth_driver_api::record::KeptRecord;
use berth_driver_api::running::Running;
use berth_driver_api::{Error, Machine, Resource, Result, Size, State, size};

use crate::disk::Disk;
use crate::names::PID_FILE;
use crate::record::Record;

/// Grows the machine's disk; memory and CPUs are what the next start is told. A kernel that runs goes on with the disk
/// that it began with.
pub(crate) async fn resize(machine: &Machine) -> Result<Vec<Resource>> {
    let record = Record::existing(machine)?;
    let runs = Running::of(&machine.file(PID_FILE))?.is_some();
    if size::grows(record.disk.size(machine)?, machine.spec.disk)? {
        match record.disk {
            Disk::Own => Disk::grow(machine)?,
            Disk::Cow if runs => {
                return Err(Error::WrongState {
                    state: State::Running,
                    wanted: "stopped: its disk is an overlay, in whose place comes a larger one",
                });
            }
            Disk::Cow => {
                Disk::part(machine).await?;
                Record {
                    disk: Disk::Own,
                    ..record
                }
                .save(machine)?;
                Disk::Cow.remove(machine)?;
            }
        }
    }
    Ok(match runs {
        true => vec![Resource::Cpus, Resource::Memory, Resource::Disk],
        false => Vec::new(),
    })
}

/// What its kernel was told, or would be.
pub(crate) fn size(machine: &Machine) -> Result<Size> {
    let wanted = machine.spec.size();
    let told = match Running::of(&machine.file(PID_FILE))? {
        Some(running) => {
            let file = format!("/proc/{}/cmdline", running.pid());
            let arguments = std::fs::read(&file).map_err(Error::io(&file))?;
            arguments.split(|byte| *byte == 0).find_map(memory_of)
        }
        None => None,
    };
    Ok(Size {
        memory: told.unwrap_or(wanted.memory),
        disk: Record::existing(machine)?.disk.size(machine)?,
        ..wanted
    })
}

/// `mem=1024M`, as the command line has it.
fn memory_of(argument: &[u8]) -> Option<u64> {
    let mebibytes = std::str::from_utf8(argument).ok()?.strip_prefix("mem=")?;
    let mebibytes: u64 = mebibytes.strip_suffix('M')?.parse().ok()?;
    mebibytes.checked_mul(1 << 20)
}
