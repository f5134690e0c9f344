//! Making a machine: what is decided for it, its volumes and its domain.

use berth_driver_api::ports::Ports;
use berth_driver_api::{Error, Machine, Progress, Result};
use berth_driver_qemu::accel::{Accelerator, Verdict};
use berth_driver_qemu::boot::BootKind;
use virt::domain::Domain;

use crate::domain::{self, Files, Outputs};
use crate::failure::failed;
use crate::hypervisor::{Hypervisor, Hypervisors, blocking};
use crate::names::{CONSOLE, READY};
use crate::options::{Cpu, Network, Settings};
use crate::record::Record;
use crate::storage::Storage;
use crate::{check, found};

/// Decides what the options leave open.
///
/// # Errors
/// If the hypervisor does not answer, or no port is left.
pub(crate) async fn decide(
    hypervisors: &Hypervisors,
    machine: &Machine,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<Record> {
    let hypervisor = hypervisors.get(settings.uri.as_ref())?;
    let arch = &machine.image()?.arch;
    let verdict = match settings.accelerator {
        // What runs everywhere needs no evidence.
        Some(Accelerator::Tcg) => Verdict::chosen(Accelerator::Tcg),
        wanted => {
            let found = check::accelerator(&hypervisor, arch).await?;
            let reason = &found.reason;
            match wanted.filter(|wanted| *wanted != found.accelerator) {
                Some(wanted) => {
                    let option = wanted.word();
                    progress.note(&format!(
                        "-o accel={option} against the evidence ({reason})"
                    ));
                    Verdict::chosen(wanted)
                }
                None => {
                    if found.accelerator == Accelerator::Tcg {
                        progress.note(reason);
                    }
                    found
                }
            }
        }
    };
    let network = check::network_of(settings, &hypervisor);
    let port = lease(machine, &network)?;
    let cpu = settings.cpu.as_deref();
    Ok(Record {
        uri: hypervisor.uri.clone(),
        pool: settings.pool.clone(),
        image: machine.image()?.digest.clone(),
        accelerator: verdict.accelerator,
        accelerator_reason: verdict.reason,
        machine_type: settings.machine_type.clone(),
        cpu: cpu
            .unwrap_or_else(|| Cpu::default_for(verdict.accelerator, arch))
            .into(),
        boot: settings.boot,
        network,
        port,
        max_memory: settings.max_memory,
        others: toml::Table::new(),
    })
}

/// The port that leads to the machine's SSH server, for a network that has one.
///
/// # Errors
/// If none is left.
pub(crate) fn lease(machine: &Machine, network: &Network) -> Result<Option<u16>> {
    match network.is_loopback() {
        true => Ports::open(&machine.ports)?.lease(machine.id).map(Some),
        false => Ok(None),
    }
}

/// Defines the machine's domain, which comes last: a machine that has one is complete.
///
/// # Errors
/// As [`define`].
pub(crate) async fn complete(
    hypervisor: &Hypervisor,
    machine: &Machine,
    record: &Record,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<()> {
    let domain = define(hypervisor, machine, record, progress).await?;
    blocking(|| domain.set_autostart(settings.autostart))
        .map(drop)
        .map_err(failed("setting the machine's autostart"))
}

/// Sees to it that the machine has its volumes, and defines its domain by them, anew if there is one.
///
/// # Errors
/// If a volume cannot be made, or the hypervisor does not take the domain.
pub(crate) async fn define(
    hypervisor: &Hypervisor,
    machine: &Machine,
    record: &Record,
    progress: &dyn Progress,
) -> Result<Domain> {
    // Before anything else: a domain of another's with this id is not replaced.
    let note = found::note(hypervisor, machine)?;
    let storage = Storage::open(hypervisor, &record.pool)?;
    let (image, disk) = storage.disk(machine, progress).await?;
    let direct = record.boot == BootKind::Direct;
    if direct && image.kernel.is_none() {
        return Err(Error::failed(
            "the machine's domain",
            "the image has lost its kernel",
        ));
    }
    let files = Files {
        disk,
        seed: storage.seed(machine, progress).await?,
        kernel: image.kernel.filter(|_| direct),
        initrd: image.initrd.filter(|_| direct),
        credentials: storage.credentials(machine)?,
        outputs: hypervisor.shares_files().then(|| Outputs {
            console: machine.file(CONSOLE),
            ready: machine.file(READY),
        }),
    };
    let xml = domain::describe(
        machine,
        machine.image()?,
        record,
        &files,
        note,
        hypervisor.kind(),
    );
    blocking(|| Domain::define_xml(&hypervisor.connection, &xml.to_string()))
        .map_err(failed("defining the machine's domain"))
}
