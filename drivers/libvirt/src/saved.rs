//! A machine suspended to disk, which libvirt calls a managed save: while there is one the machine is off, and its next
//! start goes on from there, after the daemon or the computer was started anew as well.

use berth_driver_api::{Error, Machine, Result, State};
use virt::domain::Domain;
use virt::error::ErrorNumber;
use virt::sys;

use crate::failure::failed;
use crate::hypervisor::{Hypervisor, blocking};
use crate::{port, raw, state};

/// Writes the machine's memory to disk and ends it.
///
/// # Errors
/// [`Error::WrongState`] if it is off; if it cannot be written, and then it runs on.
pub(crate) fn suspend(hypervisor: &Hypervisor, machine: &Machine) -> Result<()> {
    let domain = hypervisor.existing(machine)?;
    match state::of(&domain)? {
        State::Suspended => return Ok(()),
        State::Running | State::Paused => {}
        state => {
            return Err(Error::WrongState {
                state,
                wanted: "running",
            });
        }
    }
    // One whose CPUs are held is to run when it goes on.
    match blocking(|| domain.managed_save(sys::VIR_DOMAIN_SAVE_RUNNING)) {
        Ok(_) => Ok(()),
        // Somebody else was faster.
        Err(_) if matches!(state::of(&domain), Ok(State::Suspended)) => Ok(()),
        Err(error) => Err(failed("writing the machine's memory")(error)),
    }
}

/// Has the machine go on at `port`, if it was suspended at another one.
///
/// # Errors
/// If the hypervisor does not tell what it has kept, or does not take the change.
pub(crate) fn use_port(domain: &Domain, port: u16) -> Result<()> {
    let changed = blocking(|| match port::changed(&raw::saved_xml(domain)?, port) {
        Some(xml) => raw::change_saved_xml(domain, &xml),
        None => Ok(()),
    });
    match changed {
        // libvirt's test driver, which has no ports either.
        Err(error) if error.code() == ErrorNumber::NoSupport => Ok(()),
        changed => changed.map_err(failed("what is kept of the suspended machine")),
    }
}

/// Gives up what was suspended.
///
/// # Errors
/// If the hypervisor does not.
pub(crate) fn forget(domain: &Domain) -> Result<()> {
    let forgotten = blocking(|| match domain.has_managed_save(0)? {
        true => domain.managed_save_remove(0).map(drop),
        false => Ok(()),
    });
    match forgotten {
        Err(error) if error.code() != ErrorNumber::NoDomain => {
            Err(failed("giving the suspended machine up")(error))
        }
        _ => Ok(()),
    }
}
