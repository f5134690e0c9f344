//! The clock of a guest that was suspended: for it no time has passed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use berth_driver_api::Progress;
use tokio::time::Instant;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};

use crate::failure::clean;
use crate::hypervisor::blocking;

/// How long libvirt may take to hear that the guest's agent listens, which it does soon after the machine goes on.
const LISTENS: Duration = Duration::from_secs(5);

/// A clock may be so wrong (s).
const WRONG: i64 = 2;

/// Sets the guest's clock to this computer's by its agent; says so if that cannot be done.
pub(crate) async fn set(domain: &Domain, progress: &dyn Progress) {
    let trouble = match try_set(domain).await {
        Ok(behind) if behind.abs() < WRONG => return,
        Ok(behind) => format!("it is {behind} s behind"),
        Err(error) => clean(error.message()),
    };
    progress.note(&format!(
        "the guest's clock could not be set, and is behind until its own time service sets it: {trouble}"
    ));
}

/// Sets it and says how far it is behind then (s).
async fn try_set(domain: &Domain) -> Result<i64, Error> {
    let until = Instant::now() + LISTENS;
    let mut pause = Duration::from_millis(100);
    while let Err(error) = blocking(|| domain.get_time(0)) {
        if error.code() != ErrorNumber::AgentUnresponsive || Instant::now() > until {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_secs(1));
    }
    let now = since_1970();
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let nanoseconds = i32::try_from(now.subsec_nanos()).unwrap_or(0);
    // The agent sets the clock first and then fails to set the hardware's, for which it needs a program. What counts is
    // what it says next.
    let _ = blocking(|| domain.set_time(seconds, nanoseconds, 0));
    let (told, _) = blocking(|| domain.get_time(0))?;
    Ok(i64::try_from(since_1970().as_secs())
        .unwrap_or(i64::MAX)
        .saturating_sub(told))
}

fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
