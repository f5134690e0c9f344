//! What can go wrong in a machine's life.

use std::path::PathBuf;
use std::time::Duration;

use crate::store::Holder;
use crate::{background, context, store};

/// A machine call's outcome.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done with a machine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name breaks a rule.
    #[error("{name:?} cannot be a machine's name: {reason}")]
    BadName {
        /// What the user wrote.
        name: String,
        /// The rule.
        reason: String,
    },
    /// A size, engine or image of the request is not acceptable.
    #[error("{what}: {reason}")]
    BadRequest {
        /// Which part of the request.
        what: String,
        /// Why it is refused.
        reason: String,
    },
    /// There is no machine of that name.
    #[error("there is no machine {name}")]
    NoSuchMachine {
        /// What the user wrote.
        name: String,
        /// The machines that there are, a few at most.
        known: Vec<String>,
    },
    /// A machine of that name is there already.
    #[error("machine {0} exists already")]
    Exists(String),
    /// `--resume` was asked for, but the machine is complete.
    #[error("machine {0} is complete: there is nothing to resume")]
    NothingToResume(String),
    /// The machine was never finished.
    #[error("machine {name} is not complete: its {operation} broke off")]
    Unfinished {
        /// Which machine.
        name: String,
        /// `create` or `rm`.
        operation: String,
    },
    /// Another berth process is at work on it.
    #[error("{}", busy(name, holder))]
    Busy {
        /// Which machine.
        name: String,
        /// That process, if it is known.
        holder: Option<Holder>,
    },
    /// A machine that is up cannot be adopted as it is.
    #[error("machine {name} is {state}, and its guest takes berth's new key when it boots")]
    MustReboot {
        /// Which machine.
        name: String,
        /// What it does.
        state: berth_driver_api::State,
    },
    /// A machine that a hypervisor has cannot be adopted.
    #[error("machine {name} cannot be adopted: {reason}")]
    NotAdoptable {
        /// Which machine.
        name: String,
        /// What is in the way.
        reason: String,
    },
    /// There is no such driver.
    #[error("there is no driver {name}")]
    NoSuchDriver {
        /// What the user wrote.
        name: String,
        /// The drivers that there are.
        known: Vec<String>,
    },
    /// No driver can make the machine here.
    #[error("machine {machine}: no driver can make it here{}", listed(reasons))]
    NoDriver {
        /// Which machine.
        machine: String,
        /// Each driver, and why not.
        reasons: Vec<(String, String)>,
    },
    /// The machine has no engine to point at.
    #[error("machine {0} has no container engine")]
    NoEngine(String),
    /// The machine has no TLS endpoint.
    #[error("machine {0} has no TLS endpoint")]
    NoTls(String),
    /// The CA's key is gone, or the keyring that has it does not answer.
    #[error("the key of berth's CA is not there")]
    CaKeyMissing,
    /// Another berth process has the CA.
    #[error("another berth process has been signing certificates for a minute")]
    CaBusy,
    /// A certificate could not be made or read.
    #[error(transparent)]
    Certificate(#[from] berth_provision::certs::Error),
    /// A secret could not be had or kept.
    #[error(transparent)]
    Secret(#[from] crate::secrets::Error),
    /// The machine is off.
    #[error("machine {name} is {state}")]
    NotRunning {
        /// Which machine.
        name: String,
        /// What it does instead.
        state: berth_driver_api::State,
    },
    /// A plugin could not be used at all.
    #[error(transparent)]
    Plugin(berth_driver_api::Error),
    /// A driver's error.
    #[error("machine {machine}: {source}")]
    Driver {
        /// Which machine.
        machine: String,
        /// What the driver said.
        source: berth_driver_api::Error,
    },
    /// A guest that was booted did not answer.
    #[error("machine {machine} did not answer within {} s: {last}", deadline.as_secs())]
    NoAnswer {
        /// Which machine.
        machine: String,
        /// How long it had.
        deadline: Duration,
        /// What was seen last.
        last: String,
        /// The console's last lines.
        console: String,
    },
    /// Provisioning failed.
    #[error("machine {machine}: {source}")]
    Provision {
        /// Which machine.
        machine: String,
        /// What went wrong.
        source: Box<berth_provision::Error>,
    },
    /// The supervisor could not be started or ended.
    #[error("machine {machine}: its supervisor {what}")]
    Supervisor {
        /// Which machine.
        machine: String,
        /// What happened; the end of its log.
        what: String,
    },
    /// A folder of the host is not seen by the machine.
    #[error("machine {machine}: {guest} is not mounted: {reason}")]
    NotMounted {
        /// Which machine.
        machine: String,
        /// Where in it.
        guest: String,
        /// Why.
        reason: String,
    },
    /// The machine has no such mount.
    #[error("machine {machine} has no mount on {guest}")]
    NoSuchMount {
        /// Which machine.
        machine: String,
        /// What the user wrote.
        guest: String,
        /// The mounts that there are.
        known: Vec<String>,
    },
    /// The machine has no such snapshot.
    #[error("machine {machine} has no snapshot {snapshot}")]
    NoSuchSnapshot {
        /// Which machine.
        machine: String,
        /// What the user wrote.
        snapshot: String,
        /// The snapshots that there are.
        known: Vec<String>,
    },
    /// The machine has a snapshot of that name already.
    #[error("machine {machine} has a snapshot {snapshot} already")]
    SnapshotExists {
        /// Which machine.
        machine: String,
        /// Which snapshot.
        snapshot: String,
    },
    /// The machine has snapshots, which are of a machine of its size.
    #[error("machine {machine} has snapshots of its size: {}", snapshots.join(", "))]
    HasSnapshots {
        /// Which machine.
        machine: String,
        /// Those snapshots.
        snapshots: Vec<String>,
    },
    /// A deadline passed.
    #[error("machine {machine}: {what} did not happen within {} s", after.as_secs())]
    Timeout {
        /// Which machine.
        machine: String,
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
    },
    /// A folder for sockets is not safe to use.
    #[error("{path} is not a folder of yours with mode 0700", path = .0.display())]
    UnsafeFolder(PathBuf),
    /// There is no such pool.
    #[error("there is no pool {name}")]
    NoSuchPool {
        /// What the user wrote.
        name: String,
        /// The pools that there are.
        known: Vec<String>,
    },
    /// There is no such template.
    #[error("there is no template {0}")]
    NoSuchTemplate(String),
    /// Machines were cloned from the template.
    #[error("template {id} is in use by {}", machines.join(", "))]
    TemplateInUse {
        /// The template.
        id: String,
        /// Those machines.
        machines: Vec<String>,
    },
    /// A template could not be made.
    #[error("making a template: {0}")]
    Template(berth_driver_api::Error),
    /// The user's settings cannot be read.
    #[error("{path}: {reason}", path = path.display())]
    BadSettings {
        /// Their file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An image could not be had.
    #[error(transparent)]
    Image(#[from] berth_images::Error),
    /// A context could not be written, or is somebody else's.
    #[error(transparent)]
    Context(#[from] context::Error),
    /// State on disk.
    #[error(transparent)]
    Store(#[from] store::Error),
}

fn listed(reasons: &[(String, String)]) -> String {
    let lines = reasons
        .iter()
        .map(|(driver, reason)| format!("\n  {driver}: {reason}"));
    lines.collect()
}

fn busy(name: &str, holder: &Option<Holder>) -> String {
    match holder {
        Some(holder) => format!(
            "machine {name} is busy: process {} does `berth {}`",
            holder.pid, holder.doing
        ),
        None => format!("machine {name} is busy: another berth process works on it"),
    }
}

impl Error {
    /// A closure for `map_err` that names the machine.
    pub fn driver(machine: &str) -> impl FnOnce(berth_driver_api::Error) -> Self {
        let machine = machine.to_owned();
        move |source| Error::Driver { machine, source }
    }

    /// A closure for `map_err` that names the machine.
    pub fn supervisor(machine: &str) -> impl FnOnce(background::Error) -> Self {
        let machine = machine.to_owned();
        move |error| Error::Supervisor {
            machine,
            what: error.to_string(),
        }
    }

    /// A closure for `map_err` that names the machine.
    pub fn provision(machine: &str) -> impl FnOnce(berth_provision::Error) -> Self {
        let machine = machine.to_owned();
        move |source| Error::Provision {
            machine,
            source: Box::new(source),
        }
    }
}
