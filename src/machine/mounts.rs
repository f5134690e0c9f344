//! Folders of the host in a machine: what may be asked for, and bringing it about.

mod path;
mod settle;

use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_driver_api::{Progress, Share, State};
use berth_provision::share;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toml::Table;

use super::journal::{self, Journal};
use super::operation::SSH_DEADLINE;
use super::{Berth, Error, Opened, Record, Result, endpoint};
use crate::supervisor::Status;
use settle::{all_mounted, gone, settle};

/// Mounts of one machine. Each takes one of the ten sessions that an SSH server opens on one connection.
const MOST: usize = 8;

/// An older complaint of the supervisor's counts for nothing for this long.
const STALE: Duration = Duration::from_secs(2);

/// A folder of the host and where it is in the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    /// The folder on this computer: absolute, without symbolic links.
    pub host: PathBuf,
    /// Where it is in the machine: absolute, and in its plainest form.
    pub guest: String,
    /// Whether the machine may only read it.
    #[serde(default)]
    pub read_only: bool,
    /// What a later berth wrote here.
    #[serde(flatten)]
    pub unknown: Table,
}

impl Mount {
    /// Reads `HOST[:GUEST][:ro]`. GUEST is the same path as HOST if it is not given.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for a folder that is not there, and for a path that no machine can have a folder on.
    pub fn parse(text: &str) -> Result<Self> {
        path::parse(text).map_err(bad)
    }

    /// By what drivers and guests know it, the same from start to start.
    pub fn tag(&self) -> String {
        let digest = Sha256::digest(self.guest.as_bytes());
        let hex: String = digest.iter().take(6).map(|b| format!("{b:02x}")).collect();
        format!("berth-{hex}")
    }

    /// The driver's view.
    pub fn share(&self) -> Share {
        Share {
            tag: self.tag(),
            folder: self.host.clone(),
            read_only: self.read_only,
        }
    }
}

/// Refuses mounts that cannot be on one machine.
///
/// # Errors
/// [`Error::BadRequest`].
pub(super) fn check(mounts: &[Mount]) -> Result<()> {
    if mounts.len() > MOST {
        return Err(bad(format!("a machine has {MOST} mounts at most")));
    }
    for (at, mount) in mounts.iter().enumerate() {
        for other in mounts.iter().take(at) {
            if other.guest == mount.guest {
                return Err(bad(format!("{} is mounted on already", mount.guest)));
            }
            let (one, two) = (&mount.guest, &other.guest);
            for (inner, outer) in [(one, two), (two, one)] {
                if Path::new(inner).starts_with(outer) {
                    return Err(bad(format!(
                        "{inner} lies in {outer}, which is another mount"
                    )));
                }
            }
        }
    }
    Ok(())
}

/// Refuses to hide the home folder by whose keys berth is let in.
///
/// # Errors
/// [`Error::BadRequest`].
pub(super) fn check_user(record: &Record) -> Result<()> {
    let Some(cloud_init) = &record.cloud_init else {
        return Ok(());
    };
    let home = Path::new("/home").join(&cloud_init.user);
    let hides = |mount: &&Mount| {
        home.starts_with(&mount.guest) || Path::new(&mount.guest).starts_with(home.join(".ssh"))
    };
    match record.mounts.iter().find(hides) {
        Some(mount) => Err(bad(format!(
            "{} would hide the keys by which berth is let in",
            mount.guest
        ))),
        None => Ok(()),
    }
}

fn bad(reason: String) -> Error {
    Error::BadRequest {
        what: "mount".into(),
        reason,
    }
}

/// Adds a mount to a machine; true if it is in effect already, false if it will be when the machine starts.
///
/// # Errors
/// [`Error::BadRequest`] for one that it cannot have. What cannot be mounted now is not kept.
pub async fn add_mount(
    berth: &Berth,
    name: &str,
    mount: Mount,
    progress: &dyn Progress,
) -> Result<bool> {
    berth.record(name)?;
    let doing = format!("mount add {name}");
    let _lock = berth.lock(name, &doing, |who| progress.note(who)).await?;
    let mut opened = complete(berth, name).await?;
    opened.record.mounts.push(mount);
    check(&opened.record.mounts)?;
    check_user(&opened.record)?;
    let mut journal = Journal::begin(&opened.folder.journal(), "mount add")?;
    journal
        .always("record", async { opened.record.write(&berth.home) })
        .await?;
    let runs = runs(&opened).await?;
    if runs {
        let mounted = journal
            .always("mounts", async {
                endpoint::ensure(&opened).await?;
                bring_up(berth, &opened, progress).await
            })
            .await;
        if let Err(error) = mounted {
            opened.record.mounts.pop();
            opened.record.write(&berth.home)?;
            leave_if_idle(&opened).await?;
            journal.end()?;
            return Err(error);
        }
    }
    journal.end()?;
    Ok(runs)
}

/// Takes the mount on `guest` from a machine.
///
/// # Errors
/// [`Error::NoSuchMount`]; [`Error::Supervisor`] if a running machine does not let it go.
pub async fn remove_mount(
    berth: &Berth,
    name: &str,
    guest: &str,
    progress: &dyn Progress,
) -> Result<()> {
    berth.record(name)?;
    let doing = format!("mount rm {name}");
    let _lock = berth.lock(name, &doing, |who| progress.note(who)).await?;
    let mut opened = complete(berth, name).await?;
    let wanted = path::plain(guest);
    let mounts = &mut opened.record.mounts;
    let Some(at) = mounts.iter().position(|mount| mount.guest == wanted) else {
        return Err(Error::NoSuchMount {
            machine: name.to_owned(),
            guest: guest.chars().take(200).collect(),
            known: mounts.iter().map(|mount| mount.guest.clone()).collect(),
        });
    };
    mounts.remove(at);
    let mut journal = Journal::begin(&opened.folder.journal(), "mount rm")?;
    journal
        .always("record", async { opened.record.write(&berth.home) })
        .await?;
    if runs(&opened).await? {
        journal
            .always("unmount", async {
                progress.phase("Unmounting");
                let unmounted = settle(&opened, STALE, |status| gone(status, &wanted)).await;
                unmounted.map_err(|(_, why)| Error::Supervisor {
                    machine: name.to_owned(),
                    what: format!("did not unmount {wanted}: {why}"),
                })?;
                leave_if_idle(&opened).await
            })
            .await?;
    }
    Ok(journal.end()?)
}

/// Waits until the supervisor has mounted all, and installs what the machine lacks for it.
///
/// # Errors
/// [`Error::NotMounted`]; what installing fails with.
pub(super) async fn bring_up(
    berth: &Berth,
    opened: &Opened,
    progress: &dyn Progress,
) -> Result<()> {
    let name = &opened.record.name;
    progress.phase("Mounting");
    let all = |status: &Status| all_mounted(status, &opened.record.mounts);
    if settle(opened, Duration::ZERO, all).await.is_ok() {
        return Ok(());
    }
    let session = opened.connect(SSH_DEADLINE).await?;
    let prepared = share::prepare(&session, progress).await;
    session.disconnect().await;
    if prepared.map_err(Error::provision(name))? {
        progress.phase("Mounting");
    }
    // The supervisor watches the record, and tries again at once when it is written.
    opened.record.write(&berth.home)?;
    settle(opened, STALE, all).await.map_err(not_mounted(name))
}

fn not_mounted(machine: &str) -> impl FnOnce((String, String)) -> Error {
    let machine = machine.to_owned();
    move |(guest, reason)| Error::NotMounted {
        machine,
        guest,
        reason,
    }
}

async fn runs(opened: &Opened) -> Result<bool> {
    let state = opened.driver.state(&opened.machine).await;
    let state = state.map_err(Error::driver(&opened.record.name))?;
    Ok(state == State::Running)
}

/// Ends a supervisor that has nothing to do any more.
async fn leave_if_idle(opened: &Opened) -> Result<()> {
    match opened.record.is_supervised() {
        true => Ok(()),
        false => endpoint::end(opened).await,
    }
}

/// The machine, if its create finished and no removal began.
async fn complete(berth: &Berth, name: &str) -> Result<Opened> {
    let opened = berth.open(name).await?;
    match journal::pending(&opened.folder.journal())? {
        Some(pending) if matches!(pending.operation.as_str(), "create" | "rm") => {
            Err(Error::Unfinished {
                name: name.to_owned(),
                operation: pending.operation,
            })
        }
        _ => Ok(opened),
    }
}
