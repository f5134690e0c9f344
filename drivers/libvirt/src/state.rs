//! What a domain does, and why it does nothing.

use berth_driver_api::{Result, State};
use virt::domain::Domain;
use virt::sys;

use crate::failure::failed;
use crate::hypervisor::blocking;

/// What the domain does now.
///
/// # Errors
/// If the hypervisor does not answer.
pub(crate) fn of(domain: &Domain) -> Result<State> {
    let what = "asking for the machine's state";
    blocking(|| {
        let (state, _) = domain.get_state().map_err(failed(what))?;
        Ok(match state {
            sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED => State::Running,
            sys::VIR_DOMAIN_PAUSED | sys::VIR_DOMAIN_PMSUSPENDED => State::Paused,
            sys::VIR_DOMAIN_SHUTDOWN => State::Stopping,
            sys::VIR_DOMAIN_SHUTOFF if domain.has_managed_save(0).unwrap_or(false) => {
                State::Suspended
            }
            sys::VIR_DOMAIN_SHUTOFF | sys::VIR_DOMAIN_NOSTATE => State::Stopped,
            // It crashed, and libvirt holds it for who may look at it.
            _ => State::Error,
        })
    })
}

/// Why the domain is off, in libvirt's words.
pub(crate) fn why_stopped(domain: &Domain) -> Option<String> {
    let (state, reason) = blocking(|| domain.get_state()).ok()?;
    if state != sys::VIR_DOMAIN_SHUTOFF {
        return None;
    }
    let words = match reason as sys::virDomainShutoffReason {
        sys::VIR_DOMAIN_SHUTOFF_SHUTDOWN => "the guest shut down",
        sys::VIR_DOMAIN_SHUTOFF_DESTROYED => "it was powered off",
        sys::VIR_DOMAIN_SHUTOFF_CRASHED => {
            "QEMU ended unexpectedly, or the guest's kernel panicked"
        }
        sys::VIR_DOMAIN_SHUTOFF_MIGRATED => "it was migrated to another computer",
        sys::VIR_DOMAIN_SHUTOFF_SAVED => "it was suspended to disk",
        sys::VIR_DOMAIN_SHUTOFF_FAILED => "it failed to start",
        sys::VIR_DOMAIN_SHUTOFF_DAEMON => "libvirt's daemon ended it",
        _ => return None,
    };
    Some(words.to_owned())
}
