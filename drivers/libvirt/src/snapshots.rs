//! A machine's snapshots: inside its disk, taken and gone back to by libvirt.

use berth_driver_api::snapshot::{Snapshot, check_name};
use berth_driver_api::{Error, Machine, Progress, Result, State, files};
use berth_driver_qemu::boot::BootKind;
use virt::domain::Domain;
use virt::domain_snapshot::DomainSnapshot;
use virt::error::ErrorNumber;
use virt::sys;

use crate::failure::failed;
use crate::hypervisor::{Hypervisor, blocking};
use crate::names::READY;
use crate::power::{self, Begun, Failure};
use crate::record::Record;
use crate::snapshot::{self, Kept};
use crate::{port, state};

/// The machine's snapshots, the oldest first.
///
/// # Errors
/// If the hypervisor does not tell.
pub(crate) fn list(hypervisor: &Hypervisor, machine: &Machine) -> Result<Vec<Snapshot>> {
    let domain = hypervisor.existing(machine)?;
    // Of two of one second, the one that the other was taken after comes first.
    let order = sys::VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL;
    let mut all = blocking(|| {
        let mut all = Vec::new();
        for one in domain.list_all_snapshots(order)? {
            match one.get_xml_desc(0) {
                Ok(xml) => all.extend(snapshot::read(&xml).map(|kept| kept.snapshot)),
                // Others may remove theirs meanwhile.
                Err(error) if error.code() == ErrorNumber::NoDomainSnapshot => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    })
    .map_err(failed("listing the machine's snapshots"))?;
    all.sort_by_key(|one| one.taken);
    Ok(all)
}

/// Takes one of the machine as it is.
///
/// # Errors
/// If it is suspended, or the hypervisor cannot.
pub(crate) fn take(
    hypervisor: &Hypervisor,
    machine: &Machine,
    record: &Record,
    name: &str,
) -> Result<()> {
    check_name(name)?;
    let domain = hypervisor.existing(machine)?;
    let what = "taking the snapshot";
    let up = match state::of(&domain)? {
        State::Running | State::Paused => true,
        State::Stopped => false,
        state => {
            return Err(Error::WrongState {
                state,
                wanted: "running or stopped",
            });
        }
    };
    if up && record.boot == BootKind::Efi {
        let reason = "its firmware's variables are no part of one; stop it first, or make it with -o boot=direct";
        return Err(Error::failed(what, reason));
    }
    let said = match up && hypervisor.shares_files() {
        true => std::fs::read_to_string(machine.file(READY)).unwrap_or_default(),
        false => String::new(),
    };
    let xml = snapshot::describe(name, &said).to_string();
    blocking(|| DomainSnapshot::create_xml(&domain, &xml, 0))
        .map(drop)
        .map_err(failed(what))
}

/// Makes the machine what it was.
///
/// # Errors
/// If there is no such snapshot, or the hypervisor cannot; [`Failure::PortTaken`] if it could with another port.
pub(crate) fn restore(
    hypervisor: &Hypervisor,
    machine: &Machine,
    record: &Record,
    name: &str,
    progress: &dyn Progress,
) -> Result<Begun, Failure> {
    check_name(name)?;
    let what = "restoring the machine";
    let domain = hypervisor.existing(machine)?;
    let found = find(&domain, name)?
        .ok_or_else(|| Error::failed(what, format!("it has no snapshot {name}")))?;
    let secure = sys::VIR_DOMAIN_SNAPSHOT_XML_SECURE;
    let xml = blocking(|| found.get_xml_desc(secure)).map_err(failed(what))?;
    let Some(Kept { snapshot, said }) = snapshot::read(&xml) else {
        return Err(Error::failed(what, "what libvirt tells of the snapshot is not read").into());
    };
    power::kill(hypervisor, machine)?;
    // It may have been taken when the machine had another port.
    if let Some(xml) = record.port.and_then(|port| port::changed(&xml, port)) {
        let redefine = sys::VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE;
        blocking(|| DomainSnapshot::create_xml(&domain, &xml, redefine)).map_err(failed(what))?;
    }
    let (begun, flags) = match snapshot.memory {
        Some(_) => (Begun::Resumed, sys::VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING),
        None => (Begun::Anew, 0),
    };
    if begun == Begun::Resumed {
        power::prepare(hypervisor, machine, record, progress)?;
        if hypervisor.shares_files() {
            files::write(&machine.file(READY), said.as_bytes())?;
        }
    }
    match blocking(|| found.revert(flags)) {
        Ok(()) => Ok(begun),
        Err(error) => Err(power::failure(what, error)),
    }
}

/// Removes one; one that is gone is a success.
///
/// # Errors
/// If the hypervisor does not.
pub(crate) fn remove(hypervisor: &Hypervisor, machine: &Machine, name: &str) -> Result<()> {
    check_name(name)?;
    let domain = hypervisor.existing(machine)?;
    let Some(found) = find(&domain, name)? else {
        return Ok(());
    };
    match blocking(|| found.delete(0)) {
        Err(error) if error.code() != ErrorNumber::NoDomainSnapshot => {
            Err(failed("removing the snapshot")(error))
        }
        _ => Ok(()),
    }
}

fn find(domain: &Domain, name: &str) -> Result<Option<DomainSnapshot>> {
    match blocking(|| DomainSnapshot::lookup_by_name(domain, &snapshot::name(name), 0)) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code() == ErrorNumber::NoDomainSnapshot => Ok(None),
        Err(error) => Err(failed("looking for the snapshot")(error)),
    }
}
