//! Freezing machines to disk, and having them go on.

use std::time::Duration;

use berth_driver_api::{Progress, State};

use super::journal::Journal;
use super::operation::{begin, complete, must_be_able};
use super::up::bring_up;
use super::{Berth, Error, Opened, Result, endpoint};

/// Freezes a machine to disk, from where [`resume`] and [`start`](super::start) have it go on, even after this computer was
/// off. One that is frozen already is a success.
///
/// # Errors
/// If the driver cannot, or the machine does not run.
pub async fn suspend(berth: &Berth, name: &str, progress: &dyn Progress) -> Result<()> {
    let _lock = begin(berth, "suspend", name, progress).await?;
    let opened = complete(berth, name, progress).await?;
    let can = opened.driver.info().capabilities.suspend;
    must_be_able(&opened, can, "suspend machines")?;
    let mut journal = Journal::begin(&opened.folder.journal(), "suspend")?;
    journal
        .always("memory", async {
            progress.phase("Suspending");
            let frozen = opened.driver.suspend(&opened.machine, progress).await;
            frozen.map_err(Error::driver(name))
        })
        .await?;
    journal
        .always("supervisor", endpoint::gone(&opened))
        .await?;
    Ok(journal.end()?)
}

/// Has a suspended machine go on and waits until its engine can be reached. One that runs is a success.
///
/// # Errors
/// If it is off, or a step fails.
pub async fn resume(
    berth: &Berth,
    name: &str,
    boot_deadline: Duration,
    progress: &dyn Progress,
) -> Result<()> {
    let _lock = begin(berth, "resume", name, progress).await?;
    let opened = complete(berth, name, progress).await?;
    let can = opened.driver.info().capabilities.suspend;
    must_be_able(&opened, can, "suspend machines")?;
    let state = opened.driver.state(&opened.machine).await;
    match state.map_err(Error::driver(name))? {
        State::Suspended | State::Paused | State::Starting | State::Running => {}
        state => {
            return Err(Error::NotRunning {
                name: name.to_owned(),
                state,
            });
        }
    }
    bring_up(berth, &opened, boot_deadline, progress).await
}

/// Has a suspended machine run again, without its endpoint, so that it can be shut down.
///
/// # Errors
/// If it does not go on.
pub(super) async fn wake(berth: &Berth, opened: Opened, progress: &dyn Progress) -> Result<Opened> {
    if !opened.driver.info().capabilities.suspend {
        return Ok(opened);
    }
    let name = opened.record.name.clone();
    let state = opened.driver.state(&opened.machine).await;
    if !matches!(state, Ok(State::Suspended)) {
        return Ok(opened);
    }
    progress.note(&format!(
        "{name} is suspended: it goes on, so that it can shut down"
    ));
    let opened = complete(berth, &name, progress).await?;
    let woken = opened.driver.start(&opened.machine, progress).await;
    woken.map_err(Error::driver(&name))?;
    Ok(opened)
}
