//! The driver: what berth asks, in terms of a hypervisor's domains, volumes and networks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use berth_driver_api::ports::{self, Ports};
use berth_driver_api::record::KeptRecord;
use berth_driver_api::{
    Address, Credential, Driver, Found, Info, Machine, Probe, Progress, Resource, Result, Size,
    Snapshot, State, check_options, credentials, files,
};

use crate::domain::Kind;
use crate::hypervisor::{Hypervisor, Hypervisors};
use crate::names::{CONSOLE, OLD_CONSOLE, READY};
use crate::options::Settings;
use crate::power::{self, Begun, Failure};
use crate::ready;
use crate::record::Record;
use crate::storage::Storage;
use crate::{check, clock, found, making, network, options, resize, saved, snapshots, state};

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
}

/// Makes an attempt to have the machine run, and again with another port when a stranger has the one that it has.
async fn on_free_port(
    hypervisor: &Hypervisor,
    machine: &Machine,
    record: &mut Record,
    progress: &dyn Progress,
    attempt: impl Fn(&Record) -> Result<Begun, Failure>,
) -> Result<()> {
    for _ in 0..ports::MOST_EXCHANGES {
        match attempt(record) {
            Ok(Begun::Anew) => return Ok(()),
            Ok(Begun::Resumed) => {
                if hypervisor.kind() == Kind::Qemu {
                    clock::set(&hypervisor.existing(machine)?, progress).await;
                }
                return Ok(());
            }
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::PortTaken) => {
                let taken = record.port.unwrap_or_default();
                record.port = Some(ports::exchange_taken(machine, taken, progress)?);
                record.save(machine)?;
                making::define(hypervisor, machine, record, progress).await?;
            }
        }
    }
    Err(ports::always_taken("starting the machine"))
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
                    record.port = making::lease(machine, &record.network)?;
                    record.save(machine)?;
                }
                record
            }
            None => {
                let record =
                    making::decide(&self.hypervisors, machine, &settings, progress).await?;
                record.save(machine)?;
                record
            }
        };
        let hypervisor = self.hypervisors.get(Some(&record.uri))?;
        let storage = Storage::open(&hypervisor, &record.pool)?;
        storage.keep_credentials(machine, given, progress).await?;
        making::complete(&hypervisor, machine, &record, &settings, progress).await
    }

    async fn start(&self, machine: &Machine, progress: &dyn Progress) -> Result<()> {
        let (mut record, hypervisor) = self.open(machine)?;
        if machine.seed.is_some() && !hypervisor.shares_files() {
            let domain = hypervisor.existing(machine)?;
            if !state::of(&domain)?.is_up() {
                // It may have changed since.
                let storage = Storage::open(&hypervisor, &record.pool)?;
                storage.seed(machine, progress).await?;
            }
        }
        let start = |record: &Record| power::start(&hypervisor, machine, record, progress);
        on_free_port(&hypervisor, machine, &mut record, progress, start).await
    }

    async fn stop(&self, machine: &Machine, deadline: Duration) -> Result<()> {
        let record = Record::existing(machine)?;
        power::stop(&self.hypervisors, machine, &record, deadline).await
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
                storage.remove(machine, &record.image).await?;
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
            Some(domain) => state::of(&domain),
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

    async fn suspend(&self, machine: &Machine, progress: &dyn Progress) -> Result<()> {
        let (_, hypervisor) = self.open(machine)?;
        progress.phase("Writing its memory");
        saved::suspend(&hypervisor, machine)
    }

    async fn snapshots(&self, machine: &Machine) -> Result<Vec<Snapshot>> {
        let (_, hypervisor) = self.open(machine)?;
        snapshots::list(&hypervisor, machine)
    }

    async fn snapshot(&self, machine: &Machine, name: &str, progress: &dyn Progress) -> Result<()> {
        let (record, hypervisor) = self.open(machine)?;
        progress.phase("Taking the snapshot");
        snapshots::take(&hypervisor, machine, &record, name)
    }

    async fn restore(&self, machine: &Machine, name: &str, progress: &dyn Progress) -> Result<()> {
        let (mut record, hypervisor) = self.open(machine)?;
        progress.phase("Going back to the snapshot");
        let restore =
            |record: &Record| snapshots::restore(&hypervisor, machine, record, name, progress);
        on_free_port(&hypervisor, machine, &mut record, progress, restore).await
    }

    async fn remove_snapshot(&self, machine: &Machine, name: &str) -> Result<()> {
        let (_, hypervisor) = self.open(machine)?;
        snapshots::remove(&hypervisor, machine, name)
    }

    async fn copy(
        &self,
        source: &Machine,
        machine: &Machine,
        given: &[Credential],
        progress: &dyn Progress,
    ) -> Result<()> {
        let (model, hypervisor) = self.open(source)?;
        let original = hypervisor.existing(source)?;
        let settings = Settings::of(machine, &self.info)?;
        let record = match Record::load(machine)? {
            Some(record) => record,
            None => {
                let port = making::lease(machine, &model.network)?;
                let record = Record { port, ..model };
                record.save(machine)?;
                record
            }
        };
        let storage = Storage::open(&hypervisor, &record.pool)?;
        storage.keep_credentials(machine, given, progress).await?;
        if hypervisor.domain(machine)?.is_none() {
            progress.phase("Copying the disk");
            storage.copy(source, &original, machine).await?;
        }
        making::complete(&hypervisor, machine, &record, &settings, progress).await
    }

    async fn resize(&self, machine: &Machine, progress: &dyn Progress) -> Result<Vec<Resource>> {
        let (record, hypervisor) = self.open(machine)?;
        resize::resize(&hypervisor, machine, &record, progress).await
    }

    async fn size(&self, machine: &Machine) -> Result<Size> {
        let (record, hypervisor) = self.open(machine)?;
        resize::size(&hypervisor, machine, &record)
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
