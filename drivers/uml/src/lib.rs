//! The User Mode Linux driver: a machine is a Linux kernel that runs as one process of the user's own. It needs no
//! hardware virtualization, no privileges and no daemon, and guests' code runs on the CPU itself.
//!
//! What a machine consists of, in its folder: `uml.toml` (what was decided when it was made), `disk.cow` (its changes
//! to the image's disk) or `disk.raw` (a larger one of its own), `credentials/`, `console.log`, and of its last run
//! `uml.pid`, `network.pid`, `network.log`, `ready` (what the guest says when it is up), `initrd` and links to what it
//! shares. In its socket folder: `uml/`, with the kernel's management console. Outside: the lease of its SSH port,
//! and while it runs a folder `berth-ID` for its memory, in `/dev/shm` if that serves.
//!
//! Beside the kernel runs a network helper, see [`helper`], and beside the kernels of a group a switch, see [`group`]. All outlive the berth that started them. Whether they
//! live is told by their locks on their pid files, so no berth has to stay, and one that comes later can watch, stop
//! or kill them.

mod check;
mod command_line;
mod confine;
mod cpu;
mod disk;
mod group;
mod helper;
mod info;
mod initrd;
mod kernel;
mod launch;
mod leash;
mod mconsole;
mod memory;
mod names;
mod power;
mod ready;
mod record;
mod resize;
mod state;
mod usermode;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use berth_driver_api::ports::Ports;
use berth_driver_api::record::KeptRecord;
use berth_driver_api::{
    Address, Credential, Driver, Info, Machine, Probe, Progress, Resource, Result, Size, State,
    credentials, files,
};

use disk::Disk;
use group::Group;
use record::Record;

/// The user that berth's images let in.
const USER: &str = "root";

/// The driver `uml`.
pub struct Uml {
    info: Info,
    kernel: Option<PathBuf>,
}

impl Uml {
    /// A driver that probes with the kernel in the folder `kernel`, if one is stored: that of the image that
    /// [`berth_driver_api::Needs::kernel`] names. Machines bring their own.
    pub fn new(kernel: Option<PathBuf>) -> Self {
        Uml {
            info: info::info(),
            kernel,
        }
    }
}

#[async_trait]
impl Driver for Uml {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn probe(&self) -> Result<Probe> {
        Ok(check::computer(self.kernel.as_deref()).await)
    }

    async fn check(&self, machine: &Machine) -> Result<()> {
        check::machine(machine, &self.info)
    }

    async fn create(
        &self,
        machine: &Machine,
        credentials: &[Credential],
        _progress: &dyn Progress,
    ) -> Result<()> {
        check::machine(machine, &self.info)?;
        let image = machine.image()?;
        credentials::write(machine, credentials, |credential| {
            Ok(credential.value.clone())
        })?;
        // A create that goes on where another one stopped keeps what that one decided.
        let record = match Record::load(machine)? {
            Some(record) => record,
            None => {
                let record = Record {
                    disk: Disk::suiting(machine.spec.disk, image.virtual_size),
                    port: Ports::open(&machine.ports)?.lease(machine.id)?,
                    others: toml::Table::new(),
                };
                record.save(machine)?;
                record
            }
        };
        if let Some(group) = Group::of(machine)? {
            group.enter(machine).await?;
        }
        // The disk comes last: a machine that has one is complete.
        record.disk.make(machine).await
    }

    async fn start(&self, machine: &Machine, progress: &dyn Progress) -> Result<()> {
        launch::start(machine, progress).await
    }

    async fn stop(&self, machine: &Machine, deadline: Duration) -> Result<()> {
        power::stop(machine, deadline).await
    }

    async fn kill(&self, machine: &Machine) -> Result<()> {
        power::kill(machine).await
    }

    async fn remove(&self, machine: &Machine) -> Result<()> {
        power::kill(machine).await?;
        if let Some(group) = Group::of(machine)? {
            group.leave(machine).await?;
        }
        launch::remove_folder(machine)?;
        credentials::remove(machine)?;
        for name in [
            names::PID_FILE,
            names::CONSOLE,
            names::OLD_CONSOLE,
            names::READY,
            names::LOADER,
            helper::PID_FILE,
            helper::LOG,
            leash::FILE,
            initrd::FILE,
            command_line::MODULES,
            command_line::CONTROL,
            disk::BASE,
            Disk::Cow.name(),
            Disk::Own.name(),
            Record::FILE,
        ] {
            let file = machine.file(name);
            files::remove(&file)?;
            files::remove(&files::unfinished(&file))?;
        }
        Ports::open(&machine.ports)?.release(machine.id)
    }

    async fn state(&self, machine: &Machine) -> Result<State> {
        state::ask(machine).await
    }

    async fn address(&self, machine: &Machine) -> Result<Address> {
        Ok(Address {
            host: "127.0.0.1".into(),
            port: Record::existing(machine)?.port,
            user: USER.into(),
            jump: Vec::new(),
            own: match Group::of(machine)? {
                Some(group) => group.address(machine)?.map(|address| address.to_string()),
                None => None,
            },
        })
    }

    async fn ready(&self, machine: &Machine, word: &str) -> Result<()> {
        ready::wait_for(machine, word).await
    }

    async fn wait_stopped(&self, machine: &Machine) -> Result<Option<String>> {
        power::wait_stopped(machine).await
    }

    async fn resize(&self, machine: &Machine, _progress: &dyn Progress) -> Result<Vec<Resource>> {
        resize::resize(machine).await
    }

    async fn size(&self, machine: &Machine) -> Result<Size> {
        resize::size(machine)
    }

    fn console(&self, machine: &Machine) -> Option<PathBuf> {
        Some(machine.file(names::CONSOLE))
    }
}
