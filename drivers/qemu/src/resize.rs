//! Another size for a machine that there is.

use berth_driver_api::running::Running;
use berth_driver_api::{Error, Machine, Resource, Result, Size, State, process, size};
use qapi::qmp;

use crate::call::CallError;
use crate::names::{DISK, PID_FILE};
use crate::{disk, memory, monitor};

/// Grows the machine's disk, also under a guest; CPUs and memory are what the next start is told.
pub(crate) async fn resize(machine: &Machine) -> Result<Vec<Resource>> {
    if memory::is_frozen(machine) {
        return Err(Error::WrongState {
            state: State::Suspended,
            wanted: "running or stopped",
        });
    }
    let runs = Running::of(&machine.file(PID_FILE))?.is_some();
    if size::grows(disk::size(machine).await?, machine.spec.disk)? {
        match runs {
            true => grow_live(machine).await?,
            false => grow_file(machine).await?,
        }
    }
    Ok(match runs {
        true => vec![Resource::Cpus, Resource::Memory],
        false => Vec::new(),
    })
}

/// What its QEMU has, or would be started with.
pub(crate) async fn size(machine: &Machine) -> Result<Size> {
    let disk = disk::size(machine).await?;
    if Running::of(&machine.file(PID_FILE))?.is_none() {
        let told = machine.spec.size();
        return Ok(Size { disk, ..told });
    }
    let failed = |error: CallError| Error::failed("asking QEMU for the machine's size", error);
    let mut monitor = monitor::connect(machine).await?;
    let cpus = monitor.call(qmp::query_cpus_fast {}).await;
    let memory = monitor.call(qmp::query_memory_size_summary {}).await;
    Ok(Size {
        cpus: u32::try_from(cpus.map_err(failed)?.len()).unwrap_or(u32::MAX),
        memory: memory.map_err(failed)?.base_memory,
        disk,
    })
}

async fn grow_live(machine: &Machine) -> Result<()> {
    let failed = |error| Error::failed("growing the disk", error);
    let size = i64::try_from(machine.spec.disk).map_err(|error| failed(error.to_string()))?;
    let mut monitor = monitor::connect(machine).await?;
    let grown = monitor.call(qmp::block_resize {
        device: None,
        node_name: Some(DISK.into()),
        size,
    });
    grown
        .await
        .map(drop)
        .map_err(|error| failed(error.to_string()))
}

async fn grow_file(machine: &Machine) -> Result<()> {
    let mut command = process::command("qemu-img")?;
    command
        .args(["resize", "-q", "-f", "qcow2"])
        .arg(disk::overlay(machine))
        .arg(machine.spec.disk.to_string());
    process::output(command).await.map(drop)
}
