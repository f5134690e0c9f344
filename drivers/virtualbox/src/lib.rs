//! The VirtualBox driver: a machine is a VM of the user's own VirtualBox, driven by VBoxManage.
//!
//! What a machine consists of, in its folder: `virtualbox.toml` (what was decided when it was made), `boot.raw` (the disk
//! that it boots from, with its credentials, if berth built its image), `base.raw` (a link to the image's disk), `seed.raw`
//! (a link to its seed, if it has one), descriptions of the three (`boot.vmdk`, `base.vmdk`, `seed.vmdk`), `disk.vdi` (what
//! it writes), `console.log`, and `berth-NAME-ID/` with VirtualBox's own settings, logs and snapshots: the memory of a
//! machine that was frozen, and the layers over its disk. Outside, the VM's registration, whose UUID is the machine's id,
//! and the lease of its SSH port. A VM of that UUID whose settings lie elsewhere is left alone.

mod arguments;
mod boot;
mod check;
mod controller;
mod copy;
mod disks;
mod explain;
#[cfg(test)]
mod fixture;
mod media;
mod network;
mod options;
mod partition;
mod power;
mod properties;
mod record;
mod resize;
mod saved;
mod service;
mod snapshots;
mod state;
mod vboxmanage;
mod vdi;
mod vm;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use berth_driver_api::ports::Ports;
use berth_driver_api::record::KeptRecord;
use berth_driver_api::{
    Address, Credential, Driver, Error, Info, Machine, Probe, Progress, Resource, Result, Size,
    Snapshot, State, files,
};

use network::Network;
use record::Record;
use vboxmanage::VBoxManage;

/// The user that berth's images let in.
const USER: &str = "root";

/// The driver `virtualbox`.
pub struct VirtualBox {
    info: Info,
}

impl VirtualBox {
    /// The driver. Runs nothing.
    #[allow(clippy::new_without_default, reason = "drivers are made by name")]
    pub fn new() -> Self {
        VirtualBox {
            info: options::info(),
        }
    }
}

/// VBoxManage, or `None` where it is not installed and there is nothing of this machine's that it would know.
async fn tool(machine: &Machine) -> Result<Option<VBoxManage>> {
    match VBoxManage::find().await {
        Ok(tool) => Ok(Some(tool)),
        Err(Error::ToolMissing { .. }) if Record::load(machine)?.is_none() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sees to what a VM is made of besides its own disk.
async fn prepare(
    tool: &VBoxManage,
    machine: &Machine,
    credentials: &[Credential],
) -> Result<Record> {
    // A create that goes on where another one stopped keeps what that one decided.
    let record = match Record::load(machine)? {
        Some(record) => record,
        None => {
            let record = Record {
                port: Ports::open(&machine.ports)?.lease(machine.id)?,
                others: toml::Table::new(),
            };
            record.save(machine)?;
            record
        }
    };
    let boot = boot::make(machine, credentials)?;
    if state::of(tool, machine).await? == State::Missing
        || !machine.file(media::BASE_DESCRIPTION).exists()
    {
        media::describe(machine, boot)?;
    }
    Ok(record)
}

#[async_trait]
impl Driver for VirtualBox {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn probe(&self) -> Result<Probe> {
        Ok(check::computer().await)
    }

    async fn check(&self, machine: &Machine) -> Result<()> {
        check::machine(machine, &self.info)?;
        match Network::of(machine) {
            Some(network) => network.check(&VBoxManage::find().await?, machine).await,
            None => Ok(()),
        }
    }

    async fn create(
        &self,
        machine: &Machine,
        credentials: &[Credential],
        _progress: &dyn Progress,
    ) -> Result<()> {
        self.check(machine).await?;
        let tool = VBoxManage::find().await?;
        let record = prepare(&tool, machine, credentials).await?;
        vm::make(&tool, machine, &record, &[]).await
    }

    async fn start(&self, machine: &Machine, progress: &dyn Progress) -> Result<()> {
        power::start(&VBoxManage::find().await?, machine, progress).await
    }

    async fn stop(&self, machine: &Machine, deadline: Duration) -> Result<()> {
        power::stop(&VBoxManage::find().await?, machine, deadline).await
    }

    async fn kill(&self, machine: &Machine) -> Result<()> {
        power::kill(&VBoxManage::find().await?, machine).await
    }

    async fn remove(&self, machine: &Machine) -> Result<()> {
        if let Some(tool) = tool(machine).await? {
            vm::remove(&tool, machine).await?;
        }
        for name in media::ALL.iter().chain(&[vm::CONSOLE, Record::FILE]) {
            let file = machine.file(name);
            files::remove(&file)?;
            files::remove(&files::unfinished(&file))?;
        }
        Ports::open(&machine.ports)?.release(machine.id)
    }

    async fn state(&self, machine: &Machine) -> Result<State> {
        match tool(machine).await? {
            Some(tool) => state::of(&tool, machine).await,
            None => Ok(State::Missing),
        }
    }

    async fn address(&self, machine: &Machine) -> Result<Address> {
        Ok(Address {
            host: "127.0.0.1".into(),
            port: Record::existing(machine)?.port,
            user: USER.into(),
            jump: Vec::new(),
            own: match Network::of(machine) {
                Some(network) => network.address(machine).await,
                None => None,
            },
        })
    }

    async fn wait_stopped(&self, machine: &Machine) -> Result<Option<String>> {
        state::until_off(&VBoxManage::find().await?, machine).await
    }

    async fn suspend(&self, machine: &Machine, progress: &dyn Progress) -> Result<()> {
        saved::suspend(&VBoxManage::find().await?, machine, progress).await
    }

    async fn snapshots(&self, machine: &Machine) -> Result<Vec<Snapshot>> {
        snapshots::list(&VBoxManage::find().await?, machine).await
    }

    async fn snapshot(&self, machine: &Machine, name: &str, progress: &dyn Progress) -> Result<()> {
        snapshots::take(&VBoxManage::find().await?, machine, name, progress).await
    }

    async fn restore(&self, machine: &Machine, name: &str, progress: &dyn Progress) -> Result<()> {
        snapshots::restore(&VBoxManage::find().await?, machine, name, progress).await
    }

    async fn remove_snapshot(&self, machine: &Machine, name: &str) -> Result<()> {
        snapshots::remove(&VBoxManage::find().await?, machine, name).await
    }

    async fn copy(
        &self,
        source: &Machine,
        machine: &Machine,
        credentials: &[Credential],
        progress: &dyn Progress,
    ) -> Result<()> {
        self.check(machine).await?;
        let tool = VBoxManage::find().await?;
        let record = prepare(&tool, machine, credentials).await?;
        copy::make(&tool, source, machine, &record, progress).await
    }

    async fn resize(&self, machine: &Machine, _progress: &dyn Progress) -> Result<Vec<Resource>> {
        resize::resize(&VBoxManage::find().await?, machine).await
    }

    async fn size(&self, machine: &Machine) -> Result<Size> {
        resize::size(&VBoxManage::find().await?, machine).await
    }

    fn console(&self, machine: &Machine) -> Option<PathBuf> {
        Some(machine.file(vm::CONSOLE))
    }
}
