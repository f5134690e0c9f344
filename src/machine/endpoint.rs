//! The endpoint of a machine's engine on this computer, from outside: its supervisor is started, waited for, ended.

use std::time::Duration;

use berth_driver_api::ready;
use berth_provision::engine::{Engine, Version};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Error, Opened, Result};
use crate::{background, store};

/// The hidden subcommand that is the supervisor.
pub const SUPERVISE: &str = "supervise";

/// How long an engine that has said that it is up may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// How long a supervisor may take to leave after its VM.
const LEAVE_DEADLINE: Duration = Duration::from_secs(5);

/// Starts the machine's supervisor unless it has one, and waits until its sockets listen.
///
/// # Errors
/// [`Error::Supervisor`] with the end of its log.
pub async fn ensure(opened: &Opened) -> Result<()> {
    if is_open(opened) {
        return Ok(());
    }
    let name = &opened.record.name;
    let started = background::start(&[SUPERVISE, name], &opened.folder.supervisor_log()).await;
    started.map_err(Error::supervisor(name))
}

/// Whether the machine has a supervisor now.
pub fn is_open(opened: &Opened) -> bool {
    store::holder(&opened.folder.supervisor_lock()).is_some()
}

/// Ends the machine's supervisor, if it has one: what it forwards to has changed.
///
/// # Errors
/// As [`gone`].
pub async fn end(opened: &Opened) -> Result<()> {
    let holder = store::holder(&opened.folder.supervisor_lock());
    if let Some(holder) = holder.filter(|holder| holder.pid > 1) {
        let _ = kill(Pid::from_raw(holder.pid), Signal::SIGTERM);
    }
    gone(opened).await
}

/// Returns once the supervisor of a machine that is off has left; one that does not is ended.
///
/// # Errors
/// [`Error::Supervisor`] if it cannot be ended.
pub async fn gone(opened: &Opened) -> Result<()> {
    let lock = opened.folder.supervisor_lock();
    for (wait, signal) in [
        (LEAVE_DEADLINE, Some(Signal::SIGTERM)),
        (LEAVE_DEADLINE, Some(Signal::SIGKILL)),
        (LEAVE_DEADLINE, None),
    ] {
        let until = tokio::time::Instant::now() + wait;
        let mut pause = Duration::from_millis(5);
        let holder = loop {
            let Some(holder) = store::holder(&lock) else {
                return Ok(());
            };
            if tokio::time::Instant::now() >= until {
                break holder;
            }
            // Its end shows in its lock, and flock(2) has no event.
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        };
        // The lock is held now, so the id in it is its holder's and not a stranger's.
        if let Some(signal) = signal.filter(|_| holder.pid > 1) {
            let _ = kill(Pid::from_raw(holder.pid), signal);
        }
    }
    Err(Error::Supervisor {
        machine: opened.record.name.clone(),
        what: "does not end".into(),
    })
}

/// The version of an engine that is only coming up, as soon as it answers.
///
/// # Errors
/// If the machine stops meanwhile.
pub async fn first_version(opened: &Opened) -> Result<String> {
    // The guest says when: asking again and again would cost it time that its engine needs to start.
    opened
        .driver
        .ready(&opened.machine, ready::ENGINE)
        .await
        .map_err(Error::driver(&opened.record.name))?;
    Ok(engine_answers(opened, ANSWER_DEADLINE).await?.engine)
}

/// Waits until the engine answers on the machine's socket on this computer, and tells its version.
///
/// # Errors
/// [`Error::Timeout`].
pub async fn engine_answers(opened: &Opened, deadline: Duration) -> Result<Version> {
    let until = tokio::time::Instant::now() + deadline;
    let mut pause = Duration::from_millis(50);
    let socket = opened.folder.engine_socket();
    loop {
        let asked = async {
            Engine::over_unix(&socket)
                .map_err(Error::provision(&opened.record.name))?
                .version()
                .await
                .map_err(Error::provision(&opened.record.name))
        };
        match tokio::time::timeout_at(until, asked).await {
            Ok(Ok(version)) => return Ok(version),
            Ok(Err(error)) if tokio::time::Instant::now() + pause >= until => return Err(error),
            Ok(Err(_)) => {}
            Err(_) => {
                return Err(Error::Timeout {
                    machine: opened.record.name.clone(),
                    what: "an answer of its engine".into(),
                    after: deadline,
                });
            }
        }
        // sshd tells that nothing listens on the engine's socket yet, but not when that changes.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}
