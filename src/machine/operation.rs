//! What an operation on a machine begins with: its lock, and that the machine is whole, runs, and can.

use std::time::Duration;

use berth_driver_api::{Error as DriverError, Progress, State};
use berth_provision::ssh::Session;

use super::{Berth, Error, Opened, Result, journal};
use crate::store::Lock;

/// How long SSH may take on a machine that is up already; emulated guests need seconds for a handshake.
pub const SSH_DEADLINE: Duration = Duration::from_secs(60);

/// Takes the machine's lock for one operation.
pub(super) async fn begin(
    berth: &Berth,
    verb: &str,
    name: &str,
    progress: &dyn Progress,
) -> Result<Lock> {
    berth.record(name)?;
    let doing = format!("{verb} {name}");
    berth.lock(name, &doing, |who| progress.note(who)).await
}

/// The machine, if its create finished and no removal began.
pub(super) async fn complete(berth: &Berth, name: &str, progress: &dyn Progress) -> Result<Opened> {
    let mut opened = berth.open(name).await?;
    match journal::pending(&opened.folder.journal())? {
        Some(pending) if matches!(pending.operation.as_str(), "create" | "rm") => {
            return Err(Error::Unfinished {
                name: name.to_owned(),
                operation: pending.operation,
            });
        }
        _ => {}
    }
    opened.machine = berth
        .machine(&opened.record, opened.driver.info(), progress)
        .await?;
    Ok(opened)
}

/// Refuses a machine that is not running.
///
/// # Errors
/// [`Error::NotRunning`].
pub async fn must_run(opened: &Opened) -> Result<()> {
    let name = &opened.record.name;
    match opened.driver.state(&opened.machine).await {
        Ok(State::Running) => Ok(()),
        Ok(state) => Err(Error::NotRunning {
            name: name.clone(),
            state,
        }),
        Err(error) => Err(Error::driver(name)(error)),
    }
}

/// A connection to a machine, which has to run.
///
/// # Errors
/// As [`must_run`]; if it does not let us in within [`SSH_DEADLINE`].
pub(super) async fn log_in(opened: &Opened) -> Result<Session> {
    must_run(opened).await?;
    opened.connect(SSH_DEADLINE).await
}

/// Refuses what the driver does not declare, before anything is done.
///
/// # Errors
/// [`DriverError::Unsupported`].
pub(super) fn must_be_able(opened: &Opened, can: bool, what: &str) -> Result<()> {
    if can {
        return Ok(());
    }
    Err(Error::driver(&opened.record.name)(
        DriverError::Unsupported {
            driver: opened.record.driver.clone(),
            what: what.to_owned(),
        },
    ))
}
