//! What a host does whose power nobody drives, by its own answer; rebooting it from inside.

use std::time::Duration;

use berth_driver_api::{Progress, State};
use berth_provision::Error as ProvisionError;
use berth_provision::ssh::greet;
use tokio::time::Instant;

use super::HOST_KEY_DEADLINE;
use crate::machine::journal::Journal;
use crate::machine::operation::SSH_DEADLINE;
use crate::machine::{Error, Opened, Result, endpoint};

/// Makes sure that a host whose power nobody drives answers; returns until when the next thing may take.
///
/// # Errors
/// That it cannot be started, if it does not answer.
pub(in crate::machine) async fn answers(
    opened: &Opened,
    journal: &mut Journal,
    progress: &dyn Progress,
) -> Result<Instant> {
    let name = &opened.record.name;
    journal
        .always("power", async {
            progress.phase("Looking whether it answers");
            let target = opened.target().await?;
            match greet(&target, HOST_KEY_DEADLINE).await {
                Ok(()) => Ok(()),
                Err(ProvisionError::Unreachable { last, .. }) => {
                    Err(Error::driver(name)(berth_driver_api::Error::Unsupported {
                        driver: opened.record.driver.clone(),
                        what: format!("power {name} on, which does not answer: {last}"),
                    }))
                }
                Err(error) => Err(Error::provision(name)(error)),
            }
        })
        .await?;
    Ok(Instant::now() + SSH_DEADLINE)
}

/// What a host does whose power nobody drives, by its own answer, and what is wrong with that.
pub(in crate::machine) async fn state(
    opened: &Opened,
    deadline: Duration,
) -> (State, Option<String>) {
    let target = match opened.target().await {
        Ok(target) if target.known_hosts.exists() => target,
        Ok(_) => {
            return (
                State::Unreachable,
                Some("its host key is not known yet".into()),
            );
        }
        Err(error) => return (State::Error, Some(error.to_string())),
    };
    // A little before whoever asked gives up: why it does not answer is worth telling.
    match greet(&target, deadline.mul_f32(0.95)).await {
        Ok(()) => (State::Running, None),
        Err(ProvisionError::Unreachable { last, .. }) => (State::Unreachable, Some(last)),
        Err(error) => (State::Error, Some(error.to_string())),
    }
}

/// Reboots a host from inside and waits until it answers again.
///
/// # Errors
/// If it does not answer, the user may not, or it is not back within `deadline`.
pub(in crate::machine) async fn reboot(
    opened: &Opened,
    deadline: Duration,
    progress: &dyn Progress,
) -> Result<()> {
    let failed = Error::provision(&opened.record.name);
    let session = opened.connect(SSH_DEADLINE).await?;
    progress.phase("Rebooting");
    let target = opened.target().await?;
    let again = berth_provision::reboot(&session, &target, deadline).await;
    again.map_err(failed)?.disconnect().await;
    // Its connection is to the boot before: a new one is opened when it notices, or at once.
    endpoint::end(opened).await
}
