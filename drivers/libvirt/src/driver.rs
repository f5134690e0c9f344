//! The driver: what berth asks, in terms of a hypervisor's domains, volumes and networks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use berth_driver_api::ports::Ports;
use berth_driver_api::record::KeptRecord;
use berth_driver_api::{
    Address, Credential, Driver, Error, Found, Info, Machine, Probe, Progress, Result, State,
    check_options, credentials, files,
};
use berth_driver_qemu::accel::{Accelerator, Verdict};
use virt::domain::Domain;

use crate::domain::{self, Files, Kind, Outputs};
use crate::failure::failed;
use crate::hypervisor::{Hypervisor, Hypervisors, blocking};
use crate::names::{CONSOLE, OLD_CONSOLE, READY};
use crate::options::{Cpu, Settings};
use crate::power::{self, Failure};
use crate::ready;
use crate::record::Record;
use crate::storage::Storage;
use crate::{check, found, network, options};
use berth_driver_qemu::boot::BootKind;

/// How often a port that a stranger took is exchanged.
const MOST_PORTS: usize = 5;

/// The driver `libvirt`. Its calls need tokio's runtime of several threads.
pub struct Libvirt {
    info: Info,
    hypervisors: Hypervisors,
}

impl Default for Libvirt {
    fn default() -> Self {
        Libvirt::new()
    }
}

impl Libvirt {
    /// A driver that is connected to nothing yet.
    pub fn new() -> Self {
        Libvirt {
            info: options::info(),
            hypervisors: Hypervisors::default(),
        }
    }

    /// The record of a machine that was created, and its hypervisor.
    fn open(&self, machine: &Machine) -> Result<(Record, Arc<Hypervisor>)> {
        let record = Record::existing(machine)?;
        let hypervisor = self.hypervisors.get(Some(&record.uri))?;
        Ok((record, hypervisor))
    }

    async fn decide(
        &self,
        machine: &Machine,
        settings: &Settings,
        progress: &dyn Progress,
    ) -> Result<Record> {
        let hypervisor = self.hypervisors.get(settings.uri.as_ref())?;
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
        let port = match network.is_loopback() {
            true => Some(Ports::open(&machine.ports)?.lease(machine.id)?),
            false => None,
        };
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
            others: toml::Table::new(),
        })
    }
}

/// Sees to it that the machine has its volumes, and defines its domain by them, anew if there is one.
async fn define(
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

#[async_trait]
impl Driver for Libvirt {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn probe(&self) -> Result<Probe> {
        Ok(check::computer(&self.hypervisors).await)
    }

    async fn check(&self, machine: &Machine) -> Result<()> {
        check::machine(&self.hypervisors, machine, &self.info).map(drop)
    }

    async fn create(
        &self,
        machine: &Machine,
        given: &[Credential],
        progress: &dyn Progress,
    ) -> Result<()> {
        let settings = check::machine(&self.hypervisors, machine, &self.info)?;
        // A create that goes on where another one stopped keeps what that one decided.
        let record = match Record::load(machine)? {
            Some(mut record) => {
                // One that was found again has none on this computer.
                if record.network.is_loopback() && record.port.is_none() {
                    record.port = Some(Ports::open(&machine.ports)?.lease(machine.id)?);
                    record.save(machine)?;
                }
                record
            }
            None => {
                let record = self.decide(machine, &settings, progress).await?;
                record.save(machine)?;
                record
            }
        };
        let hypervisor = self.hypervisors.get(Some(&record.uri))?;
        let storage = Storage::open(&hypervisor, &record.pool)?;
        storage.keep_credentials(machine, given, progress).await?;
        // The domain comes last: a machine that has one is complete.
        let domain = define(&hypervisor, machine, &record, progress).await?;
        blocking(|| domain.set_autostart(settings.autostart))
            .map(drop)
            .map_err(failed("setting the machine's autostart"))
    }

    async fn start(&self, machine: &Machine, progress: &dyn Progress) -> Result<()> {
        let (mut record, hypervisor) = self.open(machine)?;
        if machine.seed.is_some() && !hypervisor.shares_files() {
            let domain = hypervisor.existing(machine)?;
            if !power::state(&domain)?.is_up() {
                // It may have changed since.
                let storage = Storage::open(&hypervisor, &record.pool)?;
                storage.seed(machine, progress).await?;
            }
        }
        for _ in 0..MOST_PORTS {
            match power::start(&hypervisor, machine, &record, progress) {
                Ok(()) => return Ok(()),
                Err(Failure::Other(error)) => return Err(error),
                Err(Failure::PortTaken) => {
                    let taken = record.port.unwrap_or_default();
                    let port = Ports::open(&machine.ports)?.exchange(machine.id)?;
                    record.port = Some(port);
                    record.save(machine)?;
                    define(&hypervisor, machine, &record, progress).await?;
                    progress.note(&format!(
                        "another program listens on port {taken}: SSH is on port {port} now"
                    ));
                }
            }
        }
        Err(Error::failed(
            "starting the machine",
            format!("other programs took its port {MOST_PORTS} times in a row"),
        ))
    }

    async fn stop(&self, machine: &Machine, deadline: Duration) -> Result<()> {
        let (_, hypervisor) = self.open(machine)?;
        power::stop(&hypervisor, machine, deadline).await
    }

    async fn kill(&self, machine: &Machine) -> Result<()> {
        let (_, hypervisor) = self.open(machine)?;
        power::kill(&hypervisor, machine)
    }

    async fn remove(&self, machine: &Machine) -> Result<()> {
        // Without a record nothing was made at a hypervisor.
        if let Some(record) = Record::load(machine)? {
            let hypervisor = self.hypervisors.get(Some(&record.uri))?;
            power::undefine(&hypervisor, machine)?;
            if let Some(storage) = Storage::existing(&hypervisor, &record.pool)? {
                storage.remove(machine, &record.image)?;
            }
        }
        credentials::remove(machine)?;
        Ports::open(&machine.ports)?.release(machine.id)?;
        for name in [READY, CONSOLE, OLD_CONSOLE, Record::FILE] {
            let file = machine.file(name);
            files::remove(&file)?;
            files::remove(&files::unfinished(&file))?;
        }
        Ok(())
    }

    async fn state(&self, machine: &Machine) -> Result<State> {
        let Some(record) = Record::load(machine)? else {
            return Ok(State::Missing);
        };
        let hypervisor = self.hypervisors.get(Some(&record.uri))?;
        match hypervisor.domain(machine)? {
            Some(domain) => power::state(&domain),
            None => Ok(State::Missing),
        }
    }

    async fn address(&self, machine: &Machine) -> Result<Address> {
        let (record, hypervisor) = self.open(machine)?;
        network::address(&hypervisor, machine, &record)
    }

    async fn ready(&self, machine: &Machine, word: &str) -> Result<()> {
        let (record, hypervisor) = self.open(machine)?;
        if hypervisor.kind() == Kind::Test {
            return Ok(());
        }
        ready::wait_for(&self.hypervisors, &hypervisor, machine, &record, word).await
    }

    async fn wait_stopped(&self, machine: &Machine) -> Result<Option<String>> {
        let record = Record::existing(machine)?;
        ready::stopped(&self.hypervisors, machine, &record).await
    }

    async fn keep_note(&self, machine: &Machine, note: &str) -> Result<()> {
        let (_, hypervisor) = self.open(machine)?;
        found::keep_note(&hypervisor, machine, note)
    }

    async fn found(&self, options: &BTreeMap<String, String>) -> Result<Vec<Found>> {
        check_options(&self.info, options)?;
        let uri = options::uri(options)?;
        let hypervisor = self.hypervisors.get(uri.as_ref())?;
        found::all(&hypervisor)
    }

    fn console(&self, machine: &Machine) -> Option<PathBuf> {
        Some(machine.file(CONSOLE))
    }
}
