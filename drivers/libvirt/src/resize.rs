//! Another size for a machine that there is.

use berth_driver_api::{Error, Machine, Progress, Resource, Result, Size, State, size};
use virt::domain::Domain;
use virt::sys;

use crate::domain::{DISK, Kind, plugged};
use crate::failure::failed;
use crate::hypervisor::{Hypervisor, blocking};
use crate::record::Record;
use crate::storage::Storage;
use crate::{making, state};

/// Memory comes and goes in Linux guests in blocks of this size (bytes).
const BLOCK: u64 = 128 << 20;

/// Defines the machine's domain anew, grows its disk, and plugs memory into one that runs as far as it has room for more.
///
/// # Errors
/// If it is neither running nor off, the disk would shrink, or the hypervisor refuses.
pub(crate) async fn resize(
    hypervisor: &Hypervisor,
    machine: &Machine,
    record: &Record,
    progress: &dyn Progress,
) -> Result<Vec<Resource>> {
    let domain = hypervisor.existing(machine)?;
    let runs = match state::of(&domain)? {
        State::Stopped => false,
        state if state.is_up() => true,
        state => {
            return Err(Error::WrongState {
                state,
                wanted: "running or stopped",
            });
        }
    };
    grow(hypervisor, machine, record, runs.then_some(&domain)).await?;
    making::define(hypervisor, machine, record, progress).await?;
    let mut waits = Vec::new();
    if runs {
        waits.push(Resource::Cpus);
        if !plug(&domain, machine, record)? {
            waits.push(Resource::Memory);
        }
    }
    Ok(waits)
}

async fn grow(
    hypervisor: &Hypervisor,
    machine: &Machine,
    record: &Record,
    running: Option<&Domain>,
) -> Result<()> {
    let wanted = machine.spec.disk;
    let running = running.filter(|_| hypervisor.kind() == Kind::Qemu);
    let Some(domain) = running else {
        return Storage::open(hypervisor, &record.pool)?.grow(machine).await;
    };
    let about = blocking(|| domain.get_block_info(DISK, 0));
    if size::grows(
        about.map_err(failed("asking for the disk"))?.capacity,
        wanted,
    )? {
        blocking(|| domain.block_resize(DISK, wanted, sys::VIR_DOMAIN_BLOCK_RESIZE_BYTES))
            .map_err(failed("growing the disk"))?;
    }
    Ok(())
}

/// True if the machine that runs has the memory that it is to have.
fn plug(domain: &Domain, machine: &Machine, record: &Record) -> Result<bool> {
    let about =
        blocking(|| domain.get_info()).map_err(failed("asking for the machine's memory"))?;
    let (now, wanted) = (about.max_mem << 10, machine.spec.memory);
    let room = record.max_memory.is_some_and(|most| wanted <= most);
    let more = match wanted.checked_sub(now) {
        Some(0) => return Ok(true),
        Some(more) if room && more % BLOCK == 0 => more,
        _ => return Ok(false),
    };
    let module = plugged(more).to_string();
    blocking(|| domain.attach_device_flags(&module, sys::VIR_DOMAIN_AFFECT_LIVE))
        .map(|_| true)
        .map_err(failed("plugging in memory"))
}

/// What libvirt says of the domain, running or defined.
pub(crate) fn size(hypervisor: &Hypervisor, machine: &Machine, record: &Record) -> Result<Size> {
    let what = "asking for the machine's size";
    let domain = hypervisor.existing(machine)?;
    let about = blocking(|| domain.get_info()).map_err(failed(what))?;
    let disk = match hypervisor.kind() {
        Kind::Qemu if state::of(&domain)?.is_up() => {
            let about = blocking(|| domain.get_block_info(DISK, 0));
            about.map_err(failed(what))?.capacity
        }
        _ => Storage::open(hypervisor, &record.pool)?.disk_size(machine)?,
    };
    Ok(Size {
        cpus: about.nr_virt_cpu,
        memory: about.max_mem << 10,
        disk,
    })
}
