//! Powering machines on and off.

use std::time::Duration;

use berth_driver_api::Progress;

use super::adopt::power as adopted;
use super::operation::{begin, complete};
use super::up::bring_up;
use super::{Berth, Error, Opened, Result, endpoint, suspend};
use crate::store;

/// Powers a machine on and waits until its engine can be reached; mends what is missing of one that runs.
///
/// # Errors
/// If its create never finished, or a step fails.
pub async fn start(
    berth: &Berth,
    name: &str,
    boot_deadline: Duration,
    progress: &dyn Progress,
) -> Result<()> {
    let _lock = begin(berth, "start", name, progress).await?;
    let opened = complete(berth, name, progress).await?;
    bring_up(berth, &opened, boot_deadline, progress).await
}

/// Shuts a machine down: asks the guest, waits for `deadline`, then kills it.
///
/// # Errors
/// If the driver fails.
pub async fn stop(
    berth: &Berth,
    name: &str,
    deadline: Duration,
    progress: &dyn Progress,
) -> Result<()> {
    let _lock = begin(berth, "stop", name, progress).await?;
    let opened = suspend::wake(berth, berth.open(name).await?, progress).await?;
    take_down(&opened, deadline, progress).await
}

/// Powers a machine off at once, also while somebody works inside it: what is done there can break off at any time.
///
/// # Errors
/// If the driver fails.
pub async fn kill(berth: &Berth, name: &str, progress: &dyn Progress) -> Result<()> {
    berth.record(name)?;
    let holder = store::holder(&berth.home.lock(name));
    let inside = holder.is_some_and(|holder| {
        let verb = holder.doing.split(' ').next();
        matches!(verb, Some("upgrade" | "provision"))
    });
    let _lock = match inside {
        true => None,
        false => Some(begin(berth, "kill", name, progress).await?),
    };
    let opened = berth.open(name).await?;
    opened
        .driver
        .kill(&opened.machine)
        .await
        .map_err(Error::driver(name))?;
    endpoint::gone(&opened).await
}

/// Stops and starts a machine; one whose power nobody drives is told to reboot, and waited for.
///
/// # Errors
/// As [`stop`] and [`start`].
pub async fn restart(
    berth: &Berth,
    name: &str,
    deadline: Duration,
    boot_deadline: Duration,
    progress: &dyn Progress,
) -> Result<()> {
    let _lock = begin(berth, "restart", name, progress).await?;
    let opened = complete(berth, name, progress).await?;
    if !opened.driver.info().capabilities.power {
        adopted::reboot(&opened, boot_deadline, progress).await?;
        return bring_up(berth, &opened, boot_deadline, progress).await;
    }
    let opened = suspend::wake(berth, opened, progress).await?;
    take_down(&opened, deadline, progress).await?;
    bring_up(berth, &opened, boot_deadline, progress).await
}

/// Shuts a machine down, or kills it after `deadline`, and ends what this computer has of it.
///
/// # Errors
/// If the driver fails.
pub(super) async fn take_down(
    opened: &Opened,
    deadline: Duration,
    progress: &dyn Progress,
) -> Result<()> {
    let name = &opened.record.name;
    progress.phase("Stopping");
    match opened.driver.stop(&opened.machine, deadline).await {
        Ok(()) => {}
        Err(berth_driver_api::Error::Timeout { .. }) => {
            progress.note(&format!(
                "{name} did not shut down within {} s: it is killed",
                deadline.as_secs()
            ));
            opened
                .driver
                .kill(&opened.machine)
                .await
                .map_err(Error::driver(name))?;
        }
        Err(error) => return Err(Error::driver(name)(error)),
    }
    endpoint::gone(opened).await
}
