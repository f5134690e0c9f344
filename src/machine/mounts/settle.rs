//! Waiting until a supervisor has done what the record asks of it.

use std::time::{Duration, Instant};

use super::{Mount, runs};
use crate::machine::Opened;
use crate::store::{MachineFolder, Watch};
use crate::supervisor::{MountRow, Status};

/// How long a supervisor may take for its connection and for mounting, in an emulated guest.
const SETTLES: Duration = Duration::from_secs(240);

/// How far the supervisor is.
pub(super) enum Look {
    Settled,
    /// Where, and what is wrong there.
    Trouble(String, String),
    Waits(String),
}

pub(super) fn all_mounted(status: &Status, mounts: &[Mount]) -> Look {
    for mount in mounts {
        match status.mounts.iter().find(|row| row.guest == mount.guest) {
            Some(MountRow {
                error: Some(error), ..
            }) => {
                return Look::Trouble(mount.guest.clone(), error.clone());
            }
            Some(row) if row.transport.is_some() => {}
            _ => return Look::Waits(mount.guest.clone()),
        }
    }
    Look::Settled
}

pub(super) fn gone(status: &Status, guest: &str) -> Look {
    match status.mounts.iter().find(|row| row.guest == guest) {
        None => Look::Settled,
        Some(MountRow {
            error: Some(error), ..
        }) => Look::Trouble(guest.to_owned(), error.clone()),
        Some(_) => Look::Waits(guest.to_owned()),
    }
}

/// Waits for the supervisor; else tells where something has been wrong for `patience`, and what.
pub(super) async fn settle(
    opened: &Opened,
    patience: Duration,
    look: impl Fn(&Status) -> Look,
) -> Result<(), (String, String)> {
    let begun = Instant::now();
    let folder: &MachineFolder = &opened.folder;
    let mut watch = Watch::new().ok();
    if let Some(watch) = &mut watch {
        // Without it the status is looked at once in a while.
        let _ = watch.folder(folder.path());
    }
    loop {
        let Some(status) = Status::read(folder) else {
            return match runs(opened).await {
                Ok(true) => Err((String::new(), "its supervisor is gone".into())),
                _ => Err((String::new(), "the machine stopped".into())),
            };
        };
        match look(&status) {
            Look::Settled => return Ok(()),
            Look::Trouble(guest, error) if begun.elapsed() >= patience => {
                return Err((guest, error));
            }
            Look::Waits(guest) if begun.elapsed() > SETTLES => {
                let trouble = status.trouble;
                let why = trouble.unwrap_or_else(|| "its supervisor does not get to it".into());
                return Err((guest, why));
            }
            Look::Trouble(..) | Look::Waits(_) => {}
        }
        let changed = async {
            match &mut watch {
                Some(watch) => drop(watch.next().await),
                None => std::future::pending().await,
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), changed).await;
    }
}
