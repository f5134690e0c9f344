//! Another size for a machine that there is.

use berth_driver_api::{Error, Machine, Resource, Result, Size, State, size};

use crate::media::DISK;
use crate::vboxmanage::VBoxManage;
use crate::{arguments, state, vdi};

/// Changes the VM, and grows the disk that it writes to.
pub(crate) async fn resize(tool: &VBoxManage, machine: &Machine) -> Result<Vec<Resource>> {
    let state = state::existing(tool, machine).await?.state();
    if state != State::Stopped {
        return Err(Error::WrongState {
            state,
            wanted: "stopped: VirtualBox changes no VM that runs",
        });
    }
    let disk = machine.file(DISK);
    if size::grows(vdi::size(&disk)?, machine.spec.disk)? {
        let disk = disk.to_string_lossy().into_owned();
        let bytes = machine.spec.disk.to_string();
        let grow = ["modifymedium", "disk", &disk, "--resizebyte", &bytes];
        tool.run(&grow.map(str::to_owned)).await?;
    }
    tool.run(&arguments::size(machine.id, &machine.spec))
        .await?;
    Ok(Vec::new())
}

/// What VirtualBox says of the VM.
pub(crate) async fn size(tool: &VBoxManage, machine: &Machine) -> Result<Size> {
    let shown = state::existing(tool, machine).await?;
    let number = |name: &str| -> Result<u32> {
        let told = shown.get(name).and_then(|told| told.parse().ok());
        told.ok_or_else(|| Error::failed("asking for the machine's size", format!("no {name}")))
    };
    Ok(Size {
        cpus: number("cpus")?,
        memory: u64::from(number("memory")?) << 20,
        disk: vdi::size(&machine.file(DISK))?,
    })
}
