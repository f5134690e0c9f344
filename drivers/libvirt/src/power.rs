//! Powering a machine on and off, and what it does now.

use std::time::Duration;

use berth_driver_api::{Error, Machine, Progress, Result, State, files};
use tokio::time::Instant;
use virt::domain::Domain;
use virt::error::ErrorNumber;
use virt::sys;

use crate::failure::failed;
use crate::hypervisor::{Hypervisor, blocking};
use crate::names::{CONSOLE, OLD_CONSOLE, READY};
use crate::network;
use crate::options::Network;
use crate::record::Record;

/// A console log that is longer than this when the machine starts is put aside.
const LONG_CONSOLE: u64 = 16 << 20;

/// A guest that has not yet started to listen misses what it is told: it is told again.
const AGAIN: Duration = Duration::from_secs(10);

/// Why a domain did not start.
pub(crate) enum Failure {
    /// Someone else listens on the machine's port.
    PortTaken,
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Other(error)
    }
}

/// What the domain does now.
///
/// # Errors
/// If the hypervisor does not answer.
pub(crate) fn state(domain: &Domain) -> Result<State> {
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

/// Starts the domain, or lets it go on if it is paused.
///
/// # Errors
/// If it does not start; [`Failure::PortTaken`] if it would with another port.
pub(crate) fn start(
    hypervisor: &Hypervisor,
    machine: &Machine,
    record: &Record,
    progress: &dyn Progress,
) -> Result<(), Failure> {
    let domain = hypervisor.existing(machine)?;
    let what = "starting the machine";
    match state(&domain)? {
        State::Running | State::Stopping => return Ok(()),
        State::Paused => {
            let (state, _) = blocking(|| domain.get_state()).map_err(failed(what))?;
            let resumed = blocking(|| match state {
                sys::VIR_DOMAIN_PMSUSPENDED => domain.pm_wakeup(0),
                _ => domain.resume(),
            });
            return match resumed {
                // One that is only being started is paused too, and its start was waited for.
                Err(_) if matches!(self::state(&domain), Ok(State::Running)) => Ok(()),
                resumed => Ok(resumed.map(drop).map_err(failed("resuming the machine"))?),
            };
        }
        State::Error => kill(hypervisor, machine)?,
        _ => {}
    }
    if let Network::Named(name) = &record.network {
        network::ensure_active(hypervisor, name, progress)?;
    }
    if hypervisor.shares_files() {
        let console = machine.file(CONSOLE);
        files::put_long_aside(&console, &machine.file(OLD_CONSOLE), LONG_CONSOLE)?;
        // libvirt appends to it.
        files::write(&machine.file(READY), b"")?;
    }
    match blocking(|| domain.create()) {
        Ok(_) => Ok(()),
        Err(error) if port_is_taken(error.message()) => Err(Failure::PortTaken),
        // Somebody else's start was faster.
        Err(_) if matches!(state(&domain), Ok(State::Running)) => Ok(()),
        Err(error) => Err(Failure::Other(failed(what)(error))),
    }
}

/// QEMU's and passt's words for an address that is in use, which libvirt passes on.
fn port_is_taken(words: &str) -> bool {
    words.contains("Could not set up host forwarding rule")
        || words.contains("Failed to bind any port")
}

/// Asks the guest to shut down until it has, `deadline` at most.
///
/// # Errors
/// [`Error::Timeout`] if it has not.
pub(crate) async fn stop(
    hypervisor: &Hypervisor,
    machine: &Machine,
    deadline: Duration,
) -> Result<()> {
    let Some(domain) = hypervisor.domain(machine)? else {
        return Ok(());
    };
    let until = Instant::now() + deadline;
    let mut ask = Instant::now();
    let mut asked = 0_u32;
    let mut pause = Duration::from_millis(100);
    loop {
        let now = state(&domain)?;
        if !now.is_up() && now != State::Error {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Error::Timeout {
                what: "the guest's shutdown".into(),
                after: deadline,
            });
        }
        if Instant::now() >= ask {
            if let Err(error) = blocking(|| ask_to_shut_down(&domain, now, asked)) {
                tracing::debug!(machine = machine.name, "asking: {}", error.message());
            }
            asked += 1;
            ask = Instant::now() + AGAIN;
        }
        let left = until.saturating_duration_since(Instant::now());
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 3 / 2).min(Duration::from_secs(1));
    }
}

/// By the power button, and by the agent only after a guest has not heeded that twice: while the agent is asked, libvirt
/// answers nobody else about the machine.
fn ask_to_shut_down(domain: &Domain, state: State, asked: u32) -> Result<(), virt::error::Error> {
    match state {
        State::Paused => drop(domain.resume()?),
        // This guest never runs again.
        State::Error => return domain.destroy(),
        _ => {}
    }
    let mut ways = [
        sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN,
        sys::VIR_DOMAIN_SHUTDOWN_GUEST_AGENT,
    ];
    if asked % 3 == 2 {
        ways.reverse();
    }
    domain
        .shutdown_flags(ways[0])
        .or_else(|_| domain.shutdown_flags(ways[1]))
        // libvirt's test driver takes neither.
        .or_else(|_| domain.shutdown())
        .map(drop)
}

/// Powers off at once.
///
/// # Errors
/// If the hypervisor does not.
pub(crate) fn kill(hypervisor: &Hypervisor, machine: &Machine) -> Result<()> {
    let Some(domain) = hypervisor.domain(machine)? else {
        return Ok(());
    };
    match blocking(|| domain.destroy()) {
        // It is off, or was removed meanwhile.
        Err(error)
            if !matches!(
                error.code(),
                ErrorNumber::OperationInvalid | ErrorNumber::NoDomain
            ) =>
        {
            Err(failed("powering the machine off")(error))
        }
        _ => Ok(()),
    }
}

/// Removes the domain with all that libvirt keeps of it.
///
/// # Errors
/// If the hypervisor does not.
pub(crate) fn undefine(hypervisor: &Hypervisor, machine: &Machine) -> Result<()> {
    kill(hypervisor, machine)?;
    let Some(domain) = hypervisor.domain(machine)? else {
        return Ok(());
    };
    let all = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_NVRAM;
    let undefined = blocking(|| match domain.undefine_flags(all) {
        // libvirt's test driver keeps fewer things.
        Err(error) if error.code() == ErrorNumber::InvalidArg => {
            let fewer =
                sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA;
            domain.undefine_flags(fewer)
        }
        outcome => outcome,
    });
    match undefined {
        Err(error) if error.code() != ErrorNumber::NoDomain => {
            Err(failed("removing the machine's domain")(error))
        }
        _ => Ok(()),
    }
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
