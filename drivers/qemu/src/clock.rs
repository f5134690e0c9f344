//! The clock of a guest that was frozen: for it no time has passed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use berth_driver_api::{Machine, Progress};
use qapi::qga;

use crate::agent::Agent;
use crate::call::CallError;
use crate::monitor;
use crate::names::{AGENT_PIPES, AGENT_PORT, QMP_SOCKET};
use crate::qmp::Monitor;

/// How long the guest agent has to answer; under emulation it runs through code that has to be translated first.
const DEADLINE: Duration = Duration::from_secs(15);

/// A clock may be so wrong (ns).
const WRONG: i64 = 2_000_000_000;

/// Sets the guest's clock to this computer's by its agent; says so if that cannot be done.
pub(crate) async fn set(machine: &Machine, progress: &dyn Progress) {
    let trouble = match try_set(machine).await {
        Ok(behind) if behind.abs() < WRONG => return,
        Ok(behind) => format!("it is {} s behind", behind / 1_000_000_000),
        Err(CallError::Closed) => "no guest agent listens".into(),
        Err(error) => error.to_string(),
    };
    progress.note(&format!(
        "the guest's clock could not be set, and is behind until its own time service sets it: {trouble}"
    ));
}

/// Sets it and says how far it is behind then (ns).
async fn try_set(machine: &Machine) -> Result<i64, CallError> {
    let mut monitor = Monitor::connect(&machine.socket(QMP_SOCKET), DEADLINE).await?;
    if !monitor::guest_listens(&mut monitor, AGENT_PORT).await? {
        return Err(CallError::Closed);
    }
    // Others may ask for the machine's state meanwhile.
    drop(monitor);
    let mut agent = Agent::connect(&machine.socket(AGENT_PIPES), DEADLINE).await?;
    let time = Some(now());
    match agent.call(qga::guest_set_time { time }).await {
        // It sets the clock first and then fails to set the hardware's, for which it needs a program. What counts is
        // what it says next.
        Ok(_) | Err(CallError::Refused { .. }) => {}
        Err(error) => return Err(error),
    }
    let told = agent.call(qga::guest_get_time {}).await?;
    Ok(now() - told)
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
