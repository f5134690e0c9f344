//! Powering a machine on and off, and learning that it has ended.

use std::time::Duration;

use berth_driver_api::running::Running;
use berth_driver_api::{Error, Machine, Progress, Result, State, files};
use qapi::qmp::{self, RunState};
use serde_json::Value;

use crate::agent::Agent;
use crate::call::CallError;
use crate::launch::{self, Begin};
use crate::memory::{self, Frozen};
use crate::names::{AGENT_PIPES, AGENT_PORT, LOG, PID_FILE, QMP_SOCKET, WATCH_SOCKET};
use crate::qmp::{Event, Monitor};
use crate::{clock, monitor, state, suspend};

/// How long the guest agent has to answer; the power button comes next.
const AGENT: Duration = Duration::from_secs(2);

/// A guest that has not yet started to listen misses what it is told: it is told again.
const AGAIN: Duration = Duration::from_secs(10);

/// How long the monitor of events has to answer, and to tell its last one.
const WATCH: Duration = Duration::from_secs(3);

/// Starts the machine, or lets it go on if it is paused or frozen.
pub(crate) async fn start(machine: &Machine, progress: &dyn Progress) -> Result<()> {
    if let Some(frozen) = Frozen::of(machine)? {
        return suspend::thaw(machine, &frozen, progress).await;
    }
    if let Some(running) = Running::of(&machine.file(PID_FILE))?
        && go_on(machine, &running, progress).await?
    {
        return Ok(());
    }
    launch::power_on(machine, &Begin::Boot, progress).await
}

/// Has a machine go on that is up. False if its QEMU was just ending, as one does whose start was given up.
async fn go_on(machine: &Machine, running: &Running, progress: &dyn Progress) -> Result<bool> {
    match state::of_running(machine, running).await? {
        State::Paused => {
            let mut monitor = monitor::connect(machine).await?;
            let answer = monitor::go_on(&mut monitor).await;
            answer.map_err(|error| Error::failed("resuming the machine", error))?;
            drop(monitor);
            clock::set(machine, progress).await;
            Ok(true)
        }
        State::Starting | State::Running => Ok(true),
        State::Stopped => Ok(false),
        state => Err(Error::WrongState {
            state,
            wanted: "stopped, running or paused",
        }),
    }
}

/// Asks the guest to shut down until it has.
pub(crate) async fn stop(machine: &Machine, deadline: Duration) -> Result<()> {
    let Some(running) = Running::of(&machine.file(PID_FILE))? else {
        return Ok(());
    };
    let ask = async {
        loop {
            if let Err(error) = ask_to_shut_down(machine).await {
                tracing::debug!(machine = machine.name, "asking for a shutdown: {error}");
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    tokio::select! {
        ended = running.ended() => ended,
        () = ask => Ok(()),
        () = tokio::time::sleep(deadline) => Err(Error::Timeout {
            what: "the guest's shutdown".into(),
            after: deadline,
        }),
    }
}

async fn ask_to_shut_down(machine: &Machine) -> Result<(), CallError> {
    let mut monitor = Monitor::connect(&machine.socket(QMP_SOCKET), AGENT).await?;
    match monitor.call(qmp::query_status {}).await?.status {
        RunState::paused | RunState::postmigrate => monitor::go_on(&mut monitor).await?,
        // These guests never run again.
        RunState::guest_panicked | RunState::internal_error | RunState::shutdown => {
            monitor.call(qmp::quit {}).await?;
            return Ok(());
        }
        _ => {}
    }
    if monitor::guest_listens(&mut monitor, AGENT_PORT).await? {
        // Others may ask for the machine's state meanwhile.
        drop(monitor);
        match agent_shutdown(machine).await {
            Ok(()) => return Ok(()),
            Err(error) => tracing::debug!(machine = machine.name, "the guest agent: {error}"),
        }
        monitor = Monitor::connect(&machine.socket(QMP_SOCKET), AGENT).await?;
    }
    monitor.call(qmp::system_powerdown {}).await.map(drop)
}

async fn agent_shutdown(machine: &Machine) -> Result<(), CallError> {
    let mut agent = Agent::connect(&machine.socket(AGENT_PIPES), AGENT).await?;
    agent.shut_down().await
}

/// Powers off at once; what was frozen is given up.
pub(crate) async fn kill(machine: &Machine) -> Result<()> {
    monitor::end(machine).await?;
    memory::forget(machine)
}

/// Waits for the machine's end and says what is known of why.
pub(crate) async fn wait_stopped(machine: &Machine) -> Result<Option<String>> {
    let Some(running) = Running::of(&machine.file(PID_FILE))? else {
        return Ok(None);
    };
    let mut reason = None;
    let mut watched = false;
    {
        // The monitor may be another's: then this waits in line, and the process's end is all that is seen.
        let watch = async {
            let socket = machine.socket(WATCH_SOCKET);
            let mut monitor = Monitor::connect_in_turn(&socket, WATCH).await?;
            watched = true;
            loop {
                if let Some(words) = why_stopped(&monitor.event().await?) {
                    reason = Some(words);
                }
            }
        };
        let mut watch = std::pin::pin!(watch);
        let watching: Result<std::convert::Infallible, CallError> = tokio::select! {
            biased;
            end = &mut watch => end,
            ended = running.ended() => {
                ended?;
                // What it said last is still in the socket.
                tokio::time::timeout(WATCH, watch).await.unwrap_or(Err(CallError::Closed))
            }
        };
        let Err(error) = watching;
        tracing::debug!(machine = machine.name, "watching ended: {error}");
    }
    running.ended().await?;
    Ok(match reason {
        Some(reason) => Some(reason),
        None => unannounced(machine, watched),
    })
}

fn unannounced(machine: &Machine, watched: bool) -> Option<String> {
    let words = files::last_lines(&machine.file(LOG), 3);
    match (watched, words.is_empty()) {
        (true, true) => Some("QEMU ended without a word; it was probably killed".into()),
        (true, false) => Some(format!("QEMU ended unexpectedly: {words}")),
        (false, _) => None,
    }
}

fn why_stopped(event: &Event) -> Option<String> {
    match event.name.as_str() {
        "SHUTDOWN" => {
            let reason = event.data.get("reason").and_then(Value::as_str);
            Some(match reason.unwrap_or_default() {
                "guest-shutdown" => "the guest shut down".into(),
                "guest-panic" => "the guest's kernel panicked".into(),
                "host-qmp-quit" => "it was powered off".into(),
                "host-signal" => "QEMU was ended by a signal".into(),
                "host-error" => "QEMU met an error".into(),
                other => format!("QEMU shut it down ({other})"),
            })
        }
        _ => None,
    }
}
