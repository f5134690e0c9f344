//! Machines that are removed by themselves: when their time is over, or as soon as they are off.

use std::process::Stdio;
use std::time::Duration;

use berth_driver_api::State;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Error, Opened, Result};
use crate::background;

/// The longest that a machine's time can be: a year.
pub const MOST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A computer that sleeps stops the clock that is waited by, not the one that counts.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// When a machine is removed by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiry {
    /// Then at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// As soon as it is off.
    #[serde(default)]
    pub when_off: bool,
}

impl Expiry {
    /// That of a machine which is made now; `None` if it stays.
    pub fn of(ttl: Option<Duration>, when_off: bool) -> Option<Self> {
        let at = ttl.and_then(|ttl| {
            let ttl = SignedDuration::try_from(ttl.min(MOST)).ok()?;
            Timestamp::now().checked_add(ttl).ok()
        });
        (at.is_some() || when_off).then_some(Expiry { at, when_off })
    }

    fn left(&self) -> Option<Duration> {
        let left = self.at?.duration_since(Timestamp::now());
        Some(Duration::try_from(left).unwrap_or_default())
    }

    /// Returns when the time is over; never if none was set.
    pub async fn reached(&self) {
        while let Some(left) = self.left() {
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK_AGAIN)).await;
        }
        std::future::pending().await
    }
}

/// Whether the machine is to be removed now.
pub(super) async fn is_over(opened: &Opened) -> bool {
    let Some(expiry) = &opened.record.expiry else {
        return false;
    };
    if expiry.left().is_some_and(|left| left.is_zero()) {
        return true;
    }
    let state = opened.driver.state(&opened.machine).await;
    expiry.when_off && matches!(state, Ok(State::Stopped))
}

/// Has another berth remove the machine if it is to be removed now; for its supervisor, which ends with it.
///
/// # Errors
/// If that cannot be started.
pub async fn remove_by_itself(opened: &Opened) -> Result<()> {
    if !is_over(opened).await {
        return Ok(());
    }
    let name = &opened.record.name;
    let started = background::program().and_then(|mut command| {
        // Whoever restarts the machine holds its lock: that one waits, and looks again.
        command.args(["rm", "--over", name]);
        background::leave(command, Stdio::inherit())
    });
    started.map_err(Error::supervisor(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn time_passes() {
        assert_eq!(Expiry::of(None, false), None);
        let kept = Expiry::of(None, true).unwrap();
        assert_eq!((kept.at, kept.left()), (None, None));
        let short = Expiry::of(Some(Duration::from_millis(30)), false).unwrap();
        assert!(!short.left().unwrap().is_zero());
        short.reached().await;
        assert!(short.left().unwrap().is_zero());
        let long = Expiry::of(Some(Duration::MAX), false).unwrap();
        assert!(long.left().unwrap() > MOST - Duration::from_secs(60));
    }
}
