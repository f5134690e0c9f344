//! The driver trait, and how a driver describes itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::thaw::{Rest, Words};
use crate::{
    Access, Address, Credential, DiskFormat, Error, Found, Machine, OptionSpec, Probe, Progress,
    Resource, Result, Size, Snapshot, State,
};

/// Makes and drives machines on one kind of hypervisor.
#[async_trait]
pub trait Driver: Send + Sync {
    /// Who this driver is and what it can do. Costs nothing.
    fn info(&self) -> &Info;

    /// Looks whether machines can be made on this computer, and how well. Starts no machine.
    async fn probe(&self) -> Result<Probe>;

    /// Refuses a request that cannot be met, before anything is made. Called before the image is known as well, so
    /// that nobody waits for an image only to hear that an option was mistyped.
    async fn check(&self, machine: &Machine) -> Result<()>;

    /// Makes the machine's resources, powered off. `credentials` reach the guest at its first boot and
    /// never appear in a process list or a world-readable file.
    async fn create(
        &self,
        machine: &Machine,
        credentials: &[Credential],
        progress: &dyn Progress,
    ) -> Result<()>;

    /// Powers on. Returns when the hypervisor runs the machine, not when the guest is up: see [`Driver::ready`].
    async fn start(&self, machine: &Machine, progress: &dyn Progress) -> Result<()>;

    /// Asks the guest to shut down and waits until it has, `deadline` at most; then fails with [`Error::Timeout`].
    async fn stop(&self, machine: &Machine, deadline: Duration) -> Result<()>;

    /// Powers off at once.
    async fn kill(&self, machine: &Machine) -> Result<()>;

    /// Removes every resource of the machine, running or not, complete or not.
    async fn remove(&self, machine: &Machine) -> Result<()>;

    /// Asks the hypervisor what the machine does now. `Missing` if it knows no such machine.
    async fn state(&self, machine: &Machine) -> Result<State>;

    /// Where the machine's SSH server is reached.
    async fn address(&self, machine: &Machine) -> Result<Address>;

    /// Returns when the guest has said `word` since it was powered on: [`crate::ready::SSH`] when its SSH server
    /// listens, [`crate::ready::ENGINE`] when its engine answers. Fails if the machine stops meanwhile. Drivers without
    /// such a channel return at once, and the caller tries until it is answered.
    async fn ready(&self, _machine: &Machine, _word: &str) -> Result<()> {
        Ok(())
    }

    /// Returns when the running machine has stopped, with the hypervisor's word on why if there is one.
    async fn wait_stopped(&self, machine: &Machine) -> Result<Option<String>> {
        let mut pause = Duration::from_millis(200);
        while self.state(machine).await?.is_up() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
        Ok(None)
    }

    /// How the machine is entered, where it runs already and took no credentials; `None` for those that the driver makes.
    async fn access(&self, _machine: &Machine) -> Result<Option<Access>> {
        Ok(None)
    }

    /// Freezes a running machine, writes it to disk and ends it; one that is frozen already is a success.
    /// [`Driver::start`] has it go on from there, even after this computer was off; [`Driver::kill`] gives what was
    /// frozen up, as if the cable had been pulled then. What cannot be frozen is refused while the machine runs on;
    /// capability `suspend`.
    async fn suspend(&self, _machine: &Machine, _progress: &dyn Progress) -> Result<()> {
        Err(self.never("suspend machines"))
    }

    /// The machine's snapshots, the oldest first; capability `snapshot`.
    async fn snapshots(&self, _machine: &Machine) -> Result<Vec<Snapshot>> {
        Err(self.never("take snapshots"))
    }

    /// Keeps the machine as it is now under `name`, which no snapshot of it has yet: disk and memory of one that runs,
    /// and goes on running; the disk of one that is off; capability `snapshot`.
    async fn snapshot(
        &self,
        _machine: &Machine,
        _name: &str,
        _progress: &dyn Progress,
    ) -> Result<()> {
        Err(self.never("take snapshots"))
    }

    /// Makes the machine what it was when the snapshot was taken: running if it ran then, else off. What it is now is
    /// lost; capability `snapshot`.
    async fn restore(
        &self,
        _machine: &Machine,
        _name: &str,
        _progress: &dyn Progress,
    ) -> Result<()> {
        Err(self.never("take snapshots"))
    }

    /// Removes a snapshot; one that is gone is a success; capability `snapshot`.
    async fn remove_snapshot(&self, _machine: &Machine, _name: &str) -> Result<()> {
        Err(self.never("take snapshots"))
    }

    /// As [`Driver::create`], with the disk that `source` has now in place of the image's. Of one that runs it is the
    /// disk of one moment, as if the cable had been pulled then, and it runs on. The two share nothing afterwards.
    /// [`Driver::create`] may follow with other credentials, which then take the place of these; capability `clone`.
    async fn copy(
        &self,
        _source: &Machine,
        _machine: &Machine,
        _credentials: &[Credential],
        _progress: &dyn Progress,
    ) -> Result<()> {
        Err(self.never("copy machines"))
    }

    /// Gives the machine the CPUs, the memory and the disk that `machine.spec` names now; its disk was never larger. It
    /// runs, or is off. Tells what of these one that runs gets at its next start only; capability `resize`.
    async fn resize(&self, _machine: &Machine, _progress: &dyn Progress) -> Result<Vec<Resource>> {
        Err(self.never("resize machines"))
    }

    /// How large the machine is that runs, by its hypervisor's word; of one that is off, how large it would start;
    /// capability `resize`.
    async fn size(&self, _machine: &Machine) -> Result<Size> {
        Err(self.never("resize machines"))
    }

    /// Keeps `note` with the machine at the hypervisor, in place of an earlier one, for [`Driver::found`] to find when all
    /// files on this computer are lost. It holds no secrets, and no more than [`crate::LONGEST_NOTE`] bytes. Capability
    /// `adopt`.
    async fn keep_note(&self, _machine: &Machine, _note: &str) -> Result<()> {
        Err(self.never("find machines again"))
    }

    /// The machines of berth's that a hypervisor has, whichever berth made them, and nobody else's. `options` are those
    /// that say which hypervisor, as for a new machine. Changes nothing. Capability `adopt`.
    async fn found(&self, _options: &BTreeMap<String, String>) -> Result<Vec<Found>> {
        Err(self.never("find machines again"))
    }

    /// The error for what the driver never does.
    fn never(&self, what: &str) -> Error {
        Error::Unsupported {
            driver: self.info().name.clone(),
            what: what.to_owned(),
        }
    }

    /// What a frozen machine of this size and image depends on besides: versions, models, options, by name. A machine is
    /// thawed only from one of which the driver tells the same. Capability `freeze`.
    async fn freeze_key(&self, _machine: &Machine) -> Result<BTreeMap<String, String>> {
        Err(self.never("freeze machines"))
    }

    /// Makes the machine off any network, without credentials, boots it, has its guest do `script` (for its `/bin/sh`)
    /// once it has said `word`, and leaves in the machine's folder, powered off, what [`Driver::thaw`] needs: files that
    /// are never written again. The script leaves a program behind that waits at the port [`crate::thaw::PORT`]. Nothing
    /// but the folder is left of it. Capability `freeze`.
    async fn freeze(
        &self,
        _machine: &Machine,
        _word: &str,
        _script: &str,
        _progress: &dyn Progress,
    ) -> Result<()> {
        Err(self.never("freeze machines"))
    }

    /// What [`Driver::create`] and [`Driver::start`] do, by going on where the machine that was frozen in the folder
    /// `from` stopped. The program that waits in the guest has said `done` to `words` (asked for when they are about to
    /// be said) before it is on any network, and it is on its network when this returns. Whatever fails leaves what
    /// [`Driver::remove`] clears. Capability `freeze`.
    async fn thaw(
        &self,
        _machine: &Machine,
        _from: &Path,
        _credentials: &[Credential],
        _words: &Words<'_>,
        _progress: &dyn Progress,
    ) -> Result<Rest> {
        Err(self.never("freeze machines"))
    }

    /// The unix socket on this computer whose one connection leads to the guest's port [`crate::CHANNEL_PORT`], if the
    /// machine that runs has that. Nobody else reaches either end.
    fn channel(&self, _machine: &Machine) -> Option<PathBuf> {
        None
    }

    /// Whether a program in the guest holds that port open.
    async fn channel_listens(&self, _machine: &Machine) -> Result<bool> {
        Ok(false)
    }

    /// The file that the guest's serial console is written to; capability `console`.
    fn console(&self, _machine: &Machine) -> Option<PathBuf> {
        None
    }
}

/// A driver's description of itself.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Info {
    /// The driver's name, as in `--driver NAME`.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The optional abilities.
    pub capabilities: Capabilities,
    /// The options it takes by `-o KEY=VALUE`.
    pub options: Vec<OptionSpec>,
    /// The most virtual CPUs that a machine can have, if there is a limit of the driver's own.
    #[serde(default)]
    pub max_cpus: Option<u32>,
    /// In which form it takes images; for drivers with the capability `images`.
    #[serde(default)]
    pub needs: Needs,
}

/// The form in which a driver takes images. Whoever calls the driver sees to it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Needs {
    /// The disk's format, if it takes one only; a stored image is converted once.
    pub disk: Option<DiskFormat>,
    /// The name of the image that holds this driver's own kernel, if it cannot boot the guest image's.
    pub kernel: Option<String>,
}

/// Optional abilities. What is not declared is refused before anything is done.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Capabilities {
    /// Boots machines from berth's images and hands them credentials; otherwise it adopts what already runs.
    pub images: bool,
    /// Attaches a machine's seed, by which images that berth did not build are set up.
    pub seed: bool,
    /// Machines can be powered on and off.
    pub power: bool,
    /// The serial console is kept in a file.
    pub console: bool,
    /// Machines can be suspended to disk.
    pub suspend: bool,
    /// Snapshots of disk and memory.
    pub snapshot: bool,
    /// Copies of a machine.
    pub clone: bool,
    /// Machines can be made by thawing a frozen one. Drivers that are programs of their own do not offer it: the
    /// protocol has no words for it.
    #[serde(skip)]
    pub freeze: bool,
    /// Machines are found again whose files on this computer are lost.
    pub adopt: bool,
    /// CPUs, memory or disk can be changed later.
    pub resize: bool,
    /// Port forwards without SSH.
    pub forward: bool,
    /// Folders of the host by a device of the hypervisor's, where what that needs is installed.
    pub shares: bool,
}
