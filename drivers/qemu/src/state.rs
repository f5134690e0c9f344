//! What a machine does now.

use std::time::Duration;

use berth_driver_api::running::Running;
use berth_driver_api::{Error, Machine, Result, State};
use qapi::qmp::RunState;

use crate::call::CallError;
use crate::names::{PID_FILE, QMP_SOCKET};
use crate::qmp::Monitor;
use crate::{disk, memory};

/// A live QEMU answers in a millisecond; one that is stopped or starved is not waited for.
const DEADLINE: Duration = Duration::from_millis(1500);

/// Asks. A machine that is off costs two looks at its folder.
pub(crate) async fn ask(machine: &Machine) -> Result<State> {
    match Running::of(&machine.file(PID_FILE))? {
        _ if memory::is_frozen(machine) => Ok(State::Suspended),
        Some(running) => of_running(machine, &running).await,
        None if disk::overlay(machine).exists() => Ok(State::Stopped),
        None => Ok(State::Missing),
    }
}

/// Asks a machine whose QEMU lives.
pub(crate) async fn of_running(machine: &Machine, running: &Running) -> Result<State> {
    let answer = tokio::select! {
        answer = run_state(machine) => answer,
        ended = running.ended() => {
            ended?;
            return Ok(State::Stopped);
        }
    };
    match answer {
        Ok(run_state) => Ok(translate(run_state)),
        Err(CallError::Timeout { .. }) => Ok(State::Unreachable),
        // It ended in between, or its socket was removed under it.
        Err(CallError::Closed) => Ok(match Running::of(&machine.file(PID_FILE))? {
            Some(_) => State::Unreachable,
            None => State::Stopped,
        }),
        Err(error) => Err(Error::failed("asking QEMU for the machine's state", error)),
    }
}

async fn run_state(machine: &Machine) -> Result<RunState, CallError> {
    let mut monitor = Monitor::connect(&machine.socket(QMP_SOCKET), DEADLINE).await?;
    Ok(monitor.call(qapi::qmp::query_status {}).await?.status)
}

fn translate(run_state: RunState) -> State {
    match run_state {
        RunState::running | RunState::debug | RunState::colo => State::Running,
        RunState::prelaunch | RunState::inmigrate | RunState::restore_vm => State::Starting,
        RunState::paused
        | RunState::suspended
        | RunState::save_vm
        | RunState::finish_migrate
        | RunState::postmigrate
        | RunState::watchdog => State::Paused,
        RunState::shutdown => State::Stopping,
        RunState::guest_panicked | RunState::internal_error | RunState::io_error => State::Error,
    }
}
