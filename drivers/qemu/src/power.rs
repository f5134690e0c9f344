//! Ending a machine, and learning that it has ended.

use std::time::Duration;

use berth_driver_api::running::Running;
use berth_driver_api::{Error, Machine, Result, files};
use qapi::qmp::{self, RunState};
use serde_json::Value;

use crate::agent::Agent;
use crate::lines::CallError;
use crate::names::{AGENT_PORT, AGENT_SOCKET, LOG, PID_FILE, QMP_SOCKET, WATCH_SOCKET};
use crate::qmp::{Event, Monitor};
use crate::suspend;

/// How long the guest agent has to answer; the power button comes next.
const AGENT: Duration = Duration::from_secs(2);

/// A guest that has not yet started to listen misses what it is told: it is told again.
const AGAIN: Duration = Duration::from_secs(10);

/// How long QEMU has to close its files and end.
const QUIT: Duration = Duration::from_secs(3);

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
        RunState::paused | RunState::postmigrate => suspend::go_on(&mut monitor).await?,
        // These guests never run again.
        RunState::guest_panicked | RunState::internal_error | RunState::shutdown => {
            monitor.call(qmp::quit {}).await?;
            return Ok(());
        }
        _ => {}
    }
    if guest_listens(&mut monitor, AGENT_PORT).await? {
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

/// Whether the guest has a port of its own open.
pub(crate) async fn guest_listens(monitor: &mut Monitor, port: &str) -> Result<bool, CallError> {
    let devices = monitor.call(qmp::query_chardev {}).await?;
    let open = |device: &qmp::ChardevInfo| device.label == port && device.frontend_open;
    Ok(devices.iter().any(open))
}

async fn agent_shutdown(machine: &Machine) -> Result<(), CallError> {
    let mut agent = Agent::connect(&machine.socket(AGENT_SOCKET), AGENT).await?;
    agent.shut_down().await
}

/// Powers off at once; what was frozen is given up.
pub(crate) async fn kill(machine: &Machine) -> Result<()> {
    end(machine).await?;
    suspend::forget(machine)
}

/// Ends the machine's QEMU.
pub(crate) async fn end(machine: &Machine) -> Result<()> {
    let Some(running) = Running::of(&machine.file(PID_FILE))? else {
        return Ok(());
    };
    let quit = async {
        let mut monitor = Monitor::connect(&machine.socket(QMP_SOCKET), QUIT).await?;
        monitor.call(qmp::quit {}).await
    };
    let quit_and_ended = async {
        // A monitor that does not answer leaves nothing to wait for; that QEMU ends before it answers is no failure.
        match quit.await {
            Ok(_) | Err(CallError::Closed) => running.ended().await,
            Err(error) => Err(Error::failed("asking QEMU to quit", error)),
        }
    };
    if let Ok(Ok(())) = tokio::time::timeout(QUIT, quit_and_ended).await {
        return Ok(());
    }
    running.kill_and_wait("QEMU").await
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
            let mut monitor = Monitor::connect_in_turn(&socket, QUIT).await?;
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
                tokio::time::timeout(QUIT, watch).await.unwrap_or(Err(CallError::Closed))
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
