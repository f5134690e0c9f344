//! Copies of a machine: the same disk, and nothing else in common.
//!
//! The copy's disk is one layer over the image that has what all layers of the original's say together. While the
//! original runs, VirtualBox puts a further layer over those for a snapshot, so that they stay as they are until they
//! have been read.

use std::path::PathBuf;

use berth_driver_api::{Error, Machine, Progress, Result, State};

use crate::disks::Disks;
use crate::record::Record;
use crate::vboxmanage::VBoxManage;
use crate::{controller, snapshots, state, vm};

/// Before the names of the snapshots that copies need for a while. It is not how those of the user begin.
const PREFIX: &str = "berth.copy-";

/// Makes the VM of `machine`, whose other disks are there, with the disk that `source` has.
pub(crate) async fn make(
    tool: &VBoxManage,
    source: &Machine,
    machine: &Machine,
    record: &Record,
    progress: &dyn Progress,
) -> Result<()> {
    // Of copies that broke off: nobody else copies this machine now.
    let of_copies = |name: &str| name.starts_with(PREFIX);
    snapshots::remove_all(tool, source, of_copies).await?;
    progress.phase("Copying the disk");
    let up = match state::existing(tool, source).await?.state() {
        State::Running | State::Paused => true,
        State::Stopped | State::Suspended => false,
        state => {
            return Err(Error::WrongState {
                state,
                wanted: "running, suspended or stopped",
            });
        }
    };
    if !up {
        let layers = layers(tool, source).await?;
        return vm::make(tool, machine, record, &layers).await;
    }
    let about = format!("while berth makes {}", machine.name);
    snapshots::take_as(tool, source, &format!("{PREFIX}{}", machine.id), &about).await?;
    let made = async {
        let mut layers = layers(tool, source).await?;
        // The one that is written now.
        layers.remove(0);
        vm::make(tool, machine, record, &layers).await
    };
    let made = made.await;
    snapshots::remove_all(tool, source, of_copies).await?;
    made
}

async fn layers(tool: &VBoxManage, machine: &Machine) -> Result<Vec<PathBuf>> {
    let shown = state::existing(tool, machine).await?;
    let disk = controller::disk(&shown).unwrap_or_default();
    let layers = Disks::registered(tool).await?.layers(disk);
    match layers.is_empty() {
        true => Err(Error::failed(
            "copying the disk",
            format!("VirtualBox does not list {disk}"),
        )),
        false => Ok(layers),
    }
}
