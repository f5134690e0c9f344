//! Powering a machine on and off.

use std::time::Duration;

use berth_driver_api::{Error, Machine, Progress, Result, State, files};
use virt::domain::Domain;
use virt::error::ErrorNumber;
use virt::sys;

use crate::failure::failed;
use crate::hypervisor::{Hypervisor, Hypervisors, blocking};
use crate::names::{CONSOLE, OLD_CONSOLE, READY};
use crate::network;
use crate::options::Network;
use crate::record::Record;
use crate::{ready, saved, state};

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

/// How a machine came to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// By booting, or it ran already, or it is off.
    Anew,
    /// Where it stopped some time ago.
    Resumed,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Other(error)
    }
}

/// Starts the domain, or lets it go on if it is suspended or paused.
///
/// # Errors
/// If it does not start; [`Failure::PortTaken`] if it would with another port.
pub(crate) fn start(
    hypervisor: &Hypervisor,
    machine: &Machine,
    record: &Record,
    progress: &dyn Progress,
) -> Result<Begun, Failure> {
    let domain = hypervisor.existing(machine)?;
    let state = state::of(&domain)?;
    match state {
        State::Running | State::Stopping => return Ok(Begun::Anew),
        State::Paused => return Ok(go_on(&domain)?),
        State::Error => kill(hypervisor, machine)?,
        _ => {}
    }
    prepare(hypervisor, machine, record, progress)?;
    let (begun, what) = match state {
        State::Suspended => {
            if let Some(port) = record.port {
                saved::use_port(&domain, port)?;
            }
            (Begun::Resumed, "resuming the machine")
        }
        _ => {
            if hypervisor.shares_files() {
                // libvirt appends to it.
                files::write(&machine.file(READY), b"")?;
            }
            (Begun::Anew, "starting the machine")
        }
    };
    match blocking(|| domain.create()) {
        Ok(_) => Ok(begun),
        // Somebody else's start was faster.
        Err(_) if matches!(state::of(&domain), Ok(State::Running)) => Ok(begun),
        Err(error) => Err(failure(what, error)),
    }
}

/// Has a domain go on whose CPUs are held.
fn go_on(domain: &Domain) -> Result<Begun> {
    let what = "resuming the machine";
    let (state, _) = blocking(|| domain.get_state()).map_err(failed(what))?;
    let resumed = blocking(|| match state {
        sys::VIR_DOMAIN_PMSUSPENDED => domain.pm_wakeup(0),
        _ => domain.resume(),
    });
    match resumed {
        // One that is only being started is paused too, and its start was waited for.
        Err(_) if matches!(state::of(domain), Ok(State::Running)) => Ok(Begun::Anew),
        resumed => resumed.map(|_| Begun::Anew).map_err(failed(what)),
    }
}

/// Sees to what a machine needs around it before it runs.
///
/// # Errors
/// If its network cannot be started, or its console log not be put aside.
pub(crate) fn prepare(
    hypervisor: &Hypervisor,
    machine: &Machine,
    record: &Record,
    progress: &dyn Progress,
) -> Result<()> {
    if let Network::Named(name) = &record.network {
        network::ensure_active(hypervisor, name, progress)?;
    }
    if hypervisor.shares_files() {
        let console = machine.file(CONSOLE);
        files::put_long_aside(&console, &machine.file(OLD_CONSOLE), LONG_CONSOLE)?;
    }
    Ok(())
}

/// What came of a machine that was to run and does not.
pub(crate) fn failure(what: &str, error: virt::error::Error) -> Failure {
    match port_is_taken(error.message()) {
        true => Failure::PortTaken,
        false => Failure::Other(failed(what)(error)),
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
    hypervisors: &Hypervisors,
    machine: &Machine,
    record: &Record,
    deadline: Duration,
) -> Result<()> {
    // Later on, a daemon that does not answer may be starting anew.
    let hypervisor = hypervisors.get(Some(&record.uri))?;
    if hypervisor.domain(machine)?.is_none() {
        return Ok(());
    }
    drop(hypervisor);
    let ask = async {
        for asked in 0.. {
            if let Err(error) = ask_to_shut_down(hypervisors, machine, record, asked) {
                tracing::debug!(machine = machine.name, "asking: {error}");
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    tokio::select! {
        biased;
        stopped = ready::stopped(hypervisors, machine, record) => stopped?,
        () = ask => None,
        () = tokio::time::sleep(deadline) => return Err(Error::Timeout {
            what: "the guest's shutdown".into(),
            after: deadline,
        }),
    };
    let hypervisor = hypervisors.get(Some(&record.uri))?;
    match hypervisor.domain(machine)? {
        // It crashed instead, and never runs again.
        Some(domain) if state::of(&domain)? == State::Error => kill(&hypervisor, machine),
        _ => Ok(()),
    }
}

/// By the power button, and by the agent only after a guest has not heeded that twice: while the agent is asked, libvirt
/// answers nobody else about the machine.
fn ask_to_shut_down(
    hypervisors: &Hypervisors,
    machine: &Machine,
    record: &Record,
    asked: u32,
) -> Result<()> {
    let hypervisor = hypervisors.get(Some(&record.uri))?;
    let domain = hypervisor.existing(machine)?;
    if state::of(&domain)? == State::Paused {
        go_on(&domain)?;
    }
    let mut ways = [
        sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN,
        sys::VIR_DOMAIN_SHUTDOWN_GUEST_AGENT,
    ];
    if asked % 3 == 2 {
        ways.reverse();
    }
    blocking(|| {
        domain
            .shutdown_flags(ways[0])
            .or_else(|_| domain.shutdown_flags(ways[1]))
            // libvirt's test driver takes neither.
            .or_else(|_| domain.shutdown())
    })
    .map(drop)
    .map_err(failed("asking the guest to shut down"))
}

/// Powers off at once; what was suspended is given up.
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
        _ => saved::forget(&domain),
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
