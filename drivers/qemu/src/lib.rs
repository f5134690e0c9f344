//! The QEMU driver: a machine is one QEMU process of the user's own, without a daemon and without root.
//!
//! What a machine consists of, in its folder: `qemu.toml` (what was decided when it was made), `disk.qcow2` (an
//! overlay of the image), `credentials/`, `efivars.fd` if firmware boots it, `console.log`, and of its last QEMU
//! `qemu.pid`, `qemu.log`, `ready` (what the guest says when it is up) and, with shared folders, `shares.log`; of a
//! suspended one `memory` and `memory.toml`, and `snapshot-NAME.toml` for each snapshot with memory. In its socket folder: `qmp`, `watch`,
//! `agent`, `renew` and `channel`. Outside, the lease of its SSH port.
//!
//! QEMU outlives the berth that started it. Whether it lives is told by its lock on the pid file, so no berth has to
//! stay, and one that comes later can watch, stop or kill it.

pub mod accel;
mod agent;
mod arguments;
pub mod boot;
mod call;
mod check;
mod clock;
mod command_line;
mod copy;
mod credentials;
mod device_state;
mod disk;
mod firmware;
mod frozen;
mod hardware;
mod launch;
mod lines;
mod memory;
mod monitor;
mod names;
mod network;
mod options;
mod pipes;
mod power;
mod qmp;
mod ready;
mod record;
mod renewal;
mod resize;
mod shares;
mod snapshots;
mod state;
mod suspend;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use berth_driver_api::ports::Ports;
use berth_driver_api::record::KeptRecord;
use berth_driver_api::thaw::Words;
use berth_driver_api::{
    Address, Credential, Driver, Error, Info, Machine, Probe, Progress, Resource, Rest, Result,
    Silent, Size, Snapshot, State, files, process,
};
use tokio::sync::Semaphore;

use accel::{Accelerator, Verdict};
use boot::BootKind;
use options::Network;
use record::Record;

/// The user that berth's images let in.
const USER: &str = "root";

/// The driver `qemu`.
pub struct Qemu {
    info: Info,
    cache: PathBuf,
    /// A guest that becomes another machine keeps a CPU busy: more of them at once than CPUs are later, all of them.
    thaws: Semaphore,
}

impl Qemu {
    /// A driver that keeps in `cache_dir` what it found out about this computer. The folder is made when needed.
    pub fn new(cache_dir: PathBuf) -> Self {
        Qemu {
            info: options::info(),
            cache: cache_dir,
            thaws: Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)),
        }
    }

    async fn record(
        &self,
        machine: &Machine,
        settings: options::Settings,
        progress: &dyn Progress,
    ) -> Result<Record> {
        let mut record = self.decide(machine, settings, progress).await?;
        record.port = match record.network {
            Network::Bridge(_) => None,
            Network::User | Network::Passt => Some(Ports::open(&machine.ports)?.lease(machine.id)?),
        };
        Ok(record)
    }

    /// The record of a machine that has no port.
    async fn decide(
        &self,
        machine: &Machine,
        settings: options::Settings,
        progress: &dyn Progress,
    ) -> Result<Record> {
        let arch = &machine.image()?.arch;
        let name = launch::program(arch);
        let program = process::find(&name).ok_or(Error::ToolMissing { tool: name })?;
        let verdict = match settings.accelerator {
            // What runs everywhere needs no evidence.
            Some(Accelerator::Tcg) => Verdict::chosen(Accelerator::Tcg),
            wanted => {
                let found = accel::decide(&program, arch, &self.cache).await;
                match wanted.filter(|wanted| *wanted != found.accelerator) {
                    Some(wanted) => {
                        let (option, reason) = (wanted.word(), &found.reason);
                        progress.note(&format!(
                            "-o accel={option} against the evidence ({reason})"
                        ));
                        Verdict::chosen(wanted)
                    }
                    None => {
                        if found.accelerator == Accelerator::Tcg {
                            progress.note(&found.reason);
                        }
                        found
                    }
                }
            }
        };
        let cpu = settings
            .cpu
            .unwrap_or_else(|| options::default_cpu(verdict.accelerator, arch).into());
        Ok(Record {
            accelerator: verdict.accelerator,
            accelerator_reason: verdict.reason,
            machine_type: settings.machine_type,
            cpu,
            boot: settings.boot,
            network: settings.network,
            port: None,
            others: toml::Table::new(),
        })
    }
}

impl Qemu {
    /// Makes all that a machine has but its disk.
    async fn prepare(
        &self,
        machine: &Machine,
        settings: options::Settings,
        credentials: &[Credential],
        progress: &dyn Progress,
    ) -> Result<()> {
        let arch = &machine.image()?.arch;
        credentials::write(
            machine,
            credentials,
            credentials::carrier(arch, settings.boot),
        )?;
        if settings.boot == BootKind::Efi {
            let firmware = firmware::find(arch).ok_or_else(|| launch::no_firmware(arch))?;
            disk::make_variables(machine, &firmware)?;
        }
        // A create that goes on where another one stopped keeps what that one decided.
        if Record::load(machine)?.is_none() {
            self.record(machine, settings, progress)
                .await?
                .save(machine)?;
        }
        Ok(())
    }
}

/// Removes what a machine that is off has left but its disk, its firmware's variables and what was frozen of it.
fn remove_traces(machine: &Machine) -> Result<()> {
    for socket in [
        names::QMP_SOCKET,
        names::WATCH_SOCKET,
        names::RENEW_SOCKET,
        names::CHANNEL_SOCKET,
        names::MIGRATION_SOCKET,
    ] {
        files::remove(&machine.socket(socket))?;
    }
    pipes::remove(&machine.socket(names::AGENT_PIPES))?;
    berth_driver_api::credentials::remove(machine)?;
    let named = [
        names::PID_FILE,
        names::LOG,
        names::CONSOLE,
        names::OLD_CONSOLE,
        names::READY,
        shares::LOG,
        Record::FILE,
    ];
    for file in named.map(|name| machine.file(name)) {
        files::remove(&file)?;
        files::remove(&files::unfinished(&file))?;
    }
    Ok(())
}

#[async_trait]
impl Driver for Qemu {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn probe(&self) -> Result<Probe> {
        Ok(check::computer(&self.cache).await)
    }

    async fn check(&self, machine: &Machine) -> Result<()> {
        check::machine(machine, &self.info).map(drop)
    }

    async fn create(
        &self,
        machine: &Machine,
        credentials: &[Credential],
        progress: &dyn Progress,
    ) -> Result<()> {
        let settings = check::machine(machine, &self.info)?;
        self.prepare(machine, settings, credentials, progress)
            .await?;
        // The disk comes last: a machine that has one is complete.
        disk::make_overlay(machine).await
    }

    async fn start(&self, machine: &Machine, progress: &dyn Progress) -> Result<()> {
        power::start(machine, progress).await
    }

    async fn stop(&self, machine: &Machine, deadline: Duration) -> Result<()> {
        power::stop(machine, deadline).await
    }

    async fn kill(&self, machine: &Machine) -> Result<()> {
        power::kill(machine).await
    }

    async fn remove(&self, machine: &Machine) -> Result<()> {
        power::kill(machine).await?;
        snapshots::remove_files(machine)?;
        remove_traces(machine)?;
        for file in [
            disk::overlay(machine),
            disk::variables(machine),
            machine.file(names::SHARED_MEMORY),
            machine.file(names::DEVICES),
        ] {
            files::remove(&file)?;
            files::remove(&files::unfinished(&file))?;
        }
        Ports::open(&machine.ports)?.release(machine.id)
    }

    async fn state(&self, machine: &Machine) -> Result<State> {
        state::ask(machine).await
    }

    async fn address(&self, machine: &Machine) -> Result<Address> {
        let record = Record::existing(machine)?;
        let (host, port) = match (&record.network, record.port) {
            (Network::Bridge(_), _) => (network::bridged_address(machine).await?.to_string(), 22),
            (_, Some(port)) => ("127.0.0.1".into(), port),
            (_, None) => {
                return Err(Error::failed(
                    "the machine's address",
                    "its record names no port",
                ));
            }
        };
        Ok(Address {
            host,
            port,
            user: USER.into(),
            jump: Vec::new(),
            own: None,
        })
    }

    async fn ready(&self, machine: &Machine, word: &str) -> Result<()> {
        ready::wait_for(machine, word).await
    }

    async fn wait_stopped(&self, machine: &Machine) -> Result<Option<String>> {
        power::wait_stopped(machine).await
    }

    async fn suspend(&self, machine: &Machine, progress: &dyn Progress) -> Result<()> {
        suspend::suspend(machine, progress).await
    }

    async fn snapshots(&self, machine: &Machine) -> Result<Vec<Snapshot>> {
        snapshots::list(machine).await
    }

    async fn snapshot(&self, machine: &Machine, name: &str, progress: &dyn Progress) -> Result<()> {
        snapshots::take(machine, name, progress).await
    }

    async fn restore(&self, machine: &Machine, name: &str, progress: &dyn Progress) -> Result<()> {
        snapshots::restore(machine, name, progress).await
    }

    async fn remove_snapshot(&self, machine: &Machine, name: &str) -> Result<()> {
        snapshots::remove(machine, name).await
    }

    async fn copy(
        &self,
        source: &Machine,
        machine: &Machine,
        credentials: &[Credential],
        progress: &dyn Progress,
    ) -> Result<()> {
        copy::make(source, machine, credentials, progress).await
    }

    async fn resize(&self, machine: &Machine, _progress: &dyn Progress) -> Result<Vec<Resource>> {
        resize::resize(machine).await
    }

    async fn size(&self, machine: &Machine) -> Result<Size> {
        resize::size(machine).await
    }

    async fn freeze_key(&self, machine: &Machine) -> Result<BTreeMap<String, String>> {
        let settings = check::machine(machine, &self.info)?;
        let record = self.decide(machine, settings, &Silent).await?;
        frozen::key(machine, &record).await
    }

    async fn freeze(
        &self,
        machine: &Machine,
        word: &str,
        script: &str,
        progress: &dyn Progress,
    ) -> Result<()> {
        let settings = check::machine(machine, &self.info)?;
        self.decide(machine, settings, progress)
            .await?
            .save(machine)?;
        disk::make_overlay(machine).await?;
        frozen::freeze(machine, word, script, progress).await?;
        remove_traces(machine)
    }

    async fn thaw(
        &self,
        machine: &Machine,
        from: &Path,
        credentials: &[Credential],
        words: &Words<'_>,
        progress: &dyn Progress,
    ) -> Result<Rest> {
        let settings = check::machine(machine, &self.info)?;
        // Nobody closes it.
        let _turn = self.thaws.acquire().await.ok();
        self.prepare(machine, settings, credentials, progress)
            .await?;
        frozen::thaw(machine, from, words, progress).await
    }

    fn channel(&self, machine: &Machine) -> Option<PathBuf> {
        Some(machine.socket(names::CHANNEL_SOCKET)).filter(|socket| socket.exists())
    }

    async fn channel_listens(&self, machine: &Machine) -> Result<bool> {
        let mut monitor = monitor::connect(machine).await?;
        let listens = monitor::guest_listens(&mut monitor, names::CHANNEL_PORT).await;
        listens.map_err(|error| Error::failed("asking for the guest's ports", error))
    }

    fn console(&self, machine: &Machine) -> Option<PathBuf> {
        Some(machine.file(names::CONSOLE))
    }
}
