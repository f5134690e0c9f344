//! Another size for a machine that there is.

use berth_driver_api::record::KeptRecord;
use berth_driver_api::running::Running;
use berth_driver_api::{Error, Machine, Resource, Result, State, size};

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
