//! The driver trait and what its methods answer with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::thaw::{Rest, Words};
use crate::{Access, DiskFormat, Error, Found, Machine, Progress, Result, Snapshot};

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

/// One driver option.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct OptionSpec {
    /// The KEY of `-o KEY=VALUE`.
    pub name: String,
    /// What values are accepted.
    pub kind: OptionKind,
    /// The value if the user gives none.
    pub default: String,
    /// One line for people.
    pub help: String,
}

impl OptionSpec {
    /// The environment variable that gives the option its value where `-o` does not: `BERTH_DRIVER_NAME`.
    pub fn variable(&self, driver: &str) -> String {
        format!("BERTH_{driver}_{}", self.name)
            .to_ascii_uppercase()
            .replace('-', "_")
    }
}

/// The values that an option accepts.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OptionKind {
    /// Any text that the driver checks itself.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// One of these words, or `word:argument` for those that end in a colon.
    Choice(Vec<String>),
}

impl OptionKind {
    fn accepts(&self, value: &str) -> std::result::Result<(), String> {
        match self {
            OptionKind::Text if value.chars().any(char::is_control) => {
                Err("has control characters".into())
            }
            OptionKind::Text => Ok(()),
            OptionKind::Integer if value.parse::<i64>().is_err() => {
                Err("is not a whole number".into())
            }
            OptionKind::Boolean if !matches!(value, "true" | "false") => {
                Err("is neither true nor false".into())
            }
            OptionKind::Integer | OptionKind::Boolean => Ok(()),
            OptionKind::Choice(words) => {
                let known = words.iter().any(|word| match word.strip_suffix(':') {
                    Some(prefix) => value
                        .strip_prefix(prefix)
                        .and_then(|rest| rest.strip_prefix(':'))
                        .is_some_and(|argument| !argument.is_empty()),
                    None => word == value,
                });
                if known {
                    Ok(())
                } else {
                    Err(format!("is not one of {}", words.join(", ")))
                }
            }
        }
    }
}

/// Checks the user's options against what the driver declares.
///
/// # Errors
/// [`Error::UnknownOption`] with the nearest name, [`Error::InvalidOption`] with the reason.
pub fn check_options(
    info: &Info,
    options: &std::collections::BTreeMap<String, String>,
) -> Result<()> {
    for (name, value) in options {
        let Some(spec) = info.options.iter().find(|spec| spec.name == *name) else {
            let known: Vec<&str> = info.options.iter().map(|o| o.name.as_str()).collect();
            return Err(Error::UnknownOption {
                driver: info.name.clone(),
                option: name.clone(),
                nearest: nearest(name, &known).map(str::to_owned),
                known: known.into_iter().map(str::to_owned).collect(),
            });
        };
        spec.kind
            .accepts(value)
            .map_err(|reason| Error::InvalidOption {
                option: name.clone(),
                value: value.clone(),
                reason,
            })?;
    }
    Ok(())
}

/// The candidate that shares most letter pairs with `word`, if any does.
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let pairs = |text: &str| -> Vec<String> {
        let letters: Vec<char> = format!("^{text}$").chars().collect();
        letters
            .windows(2)
            .map(|pair| pair.iter().collect())
            .collect()
    };
    let wanted = pairs(word);
    candidates
        .iter()
        .map(|candidate| {
            let shared = pairs(candidate)
                .iter()
                .filter(|p| wanted.contains(p))
                .count();
            (shared, *candidate)
        })
        .filter(|(shared, _)| *shared > 1)
        // Of two that share as much, the one that has less beside it.
        .max_by_key(|(shared, candidate)| (*shared, std::cmp::Reverse(candidate.len())))
        .map(|(_, candidate)| candidate)
}

/// Something handed to a guest at first boot, as a systemd credential (systemd.io/CREDENTIALS).
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct Credential {
    /// The credential's name, such as `ssh.authorized_keys.root`.
    pub name: String,
    /// Its bytes. Secret.
    pub value: Vec<u8>,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credential({}, {} bytes)", self.name, self.value.len())
    }
}

/// What a driver found out about this computer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    /// True if machines can be made here.
    pub usable: bool,
    /// How the guests' code would run.
    #[serde(default)]
    pub execution: Execution,
    /// What decides it, most important first.
    pub findings: Vec<Finding>,
}

/// How a guest's code runs on this computer, the best first.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Execution {
    /// On the CPU, as a guest of its virtualization hardware.
    Hardware,
    /// On the CPU, without virtualization hardware.
    Native,
    /// The driver does not tell.
    #[default]
    Unknown,
    /// Translated by a program, several times slower.
    Emulated,
}

/// One thing found by a probe.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What was looked at, such as `qemu` or `acceleration`.
    pub subject: String,
    /// True if it is as it should be.
    pub good: bool,
    /// What was found and, if that is known, why.
    pub detail: String,
    /// Commands whose absence this is, by the name of the program (`qemu-img`), for `doctor --fix`.
    #[serde(default)]
    pub missing_tools: Vec<String>,
}

impl Finding {
    /// A finding without a missing tool.
    pub fn new(subject: &str, good: bool, detail: impl Into<String>) -> Self {
        Finding {
            subject: subject.into(),
            good,
            detail: detail.into(),
            missing_tools: Vec::new(),
        }
    }

    /// Something that is as it should be.
    pub fn good(subject: &str, detail: impl Into<String>) -> Self {
        Finding::new(subject, true, detail)
    }

    /// Something that is not as it should be.
    pub fn bad(subject: &str, detail: impl Into<String>) -> Self {
        Finding::new(subject, false, detail)
    }

    /// A program that is not installed.
    pub fn missing(subject: &str, tool: &str) -> Self {
        Finding {
            missing_tools: vec![tool.into()],
            ..Finding::bad(subject, format!("{tool} is not installed"))
        }
    }
}

/// What a machine does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its resources are being made, or were when berth was interrupted.
    Creating,
    /// Powered on, not yet ready.
    Starting,
    /// Powered on.
    Running,
    /// Powered on, its CPUs held.
    Paused,
    /// Frozen to disk.
    Suspended,
    /// Shutting down.
    Stopping,
    /// Powered off.
    Stopped,
    /// The hypervisor reports a fault.
    Error,
    /// No answer in time.
    Unreachable,
    /// The hypervisor knows no such machine.
    Missing,
}

impl State {
    /// True while the machine uses the hypervisor's CPU or memory.
    pub fn is_up(self) -> bool {
        matches!(
            self,
            State::Starting | State::Running | State::Paused | State::Stopping
        )
    }

    /// The word of the CLI and of `--json`.
    pub fn word(self) -> &'static str {
        match self {
            State::Creating => "creating",
            State::Starting => "starting",
            State::Running => "running",
            State::Paused => "paused",
            State::Suspended => "suspended",
            State::Stopping => "stopping",
            State::Stopped => "stopped",
            State::Error => "error",
            State::Unreachable => "unreachable",
            State::Missing => "missing",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

/// Where a machine's SSH server is reached, and where it is on a network with others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Address {
    /// Host name or IP address to connect to.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The user that the credentials let in.
    pub user: String,
    /// `ssh -J` style hops on the way there: `[user@]host[:port]`.
    #[serde(default)]
    pub jump: Vec<String>,
    /// The machine's own address, at which other machines reach it, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> Info {
        let option = |name: &str, kind| OptionSpec {
            name: name.into(),
            kind,
            default: String::new(),
            help: String::new(),
        };
        Info {
            name: "qemu".into(),
            description: String::new(),
            capabilities: Capabilities::default(),
            needs: Needs::default(),
            max_cpus: None,
            options: vec![
                option(
                    "network",
                    OptionKind::Choice(vec!["user".into(), "bridge:".into()]),
                ),
                option("accel", OptionKind::Choice(vec!["auto".into()])),
            ],
        }
    }

    fn check(name: &str, value: &str) -> Result<()> {
        check_options(&info(), &[(name.to_owned(), value.to_owned())].into())
    }

    #[test]
    fn a_mistyped_option_names_the_nearest_one() {
        let error = check("netwrok", "user").err();
        assert!(
            matches!(error, Some(Error::UnknownOption { nearest: Some(n), .. }) if n == "network")
        );
    }

    #[test]
    fn a_choice_with_an_argument_needs_the_argument() {
        assert!(check("network", "user").is_ok());
        assert!(check("network", "bridge:br0").is_ok());
        assert!(check("network", "bridge:").is_err());
        assert!(check("network", "bridge").is_err());
        assert!(check("network", "userx").is_err());
    }
}
