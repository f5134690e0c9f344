//! The endpoint of a machine's engine on this computer, from outside: its supervisor is started, waited for, ended.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::time::Duration;

use berth_driver_api::{process, ready};
use berth_provision::engine::Engine;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{Error, Opened, Result};
use crate::store;

/// The hidden subcommand that is the supervisor.
pub const SUPERVISE: &str = "supervise";

/// What the supervisor prints once its socket listens.
pub const LISTENS: &str = "ready";

/// How long a supervisor may take to listen, and to leave after its VM.
const START_DEADLINE: Duration = Duration::from_secs(30);
const LEAVE_DEADLINE: Duration = Duration::from_secs(5);

/// Starts the machine's supervisor unless it has one, and waits until its sockets listen.
///
/// # Errors
/// [`Error::Supervisor`] with the end of its log.
pub async fn ensure(opened: &Opened) -> Result<()> {
    if is_open(opened) {
        return Ok(());
    }
    let failed = |what: String| Error::Supervisor {
        machine: opened.record.name.clone(),
        what,
    };
    let log = opened.folder.supervisor_log();
    let log_file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&log)
        .map_err(store::Error::io(&log))?;
    let mut command = own_program().map_err(failed)?;
    command
        .args([SUPERVISE, &opened.record.name])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log_file);
    let mut child = process::spawn_detached(command).map_err(Error::driver(&opened.record.name))?;
    let mut line = String::new();
    let heard = match child.stdout.take() {
        Some(stdout) => {
            let mut stdout = BufReader::new(stdout);
            tokio::time::timeout(START_DEADLINE, stdout.read_line(&mut line)).await
        }
        None => Ok(Ok(0)),
    };
    if heard.is_ok() && line.trim() == LISTENS {
        return Ok(());
    }
    let last = std::fs::read(&log).unwrap_or_default();
    Err(failed(format!(
        "did not start: {}",
        process::last_lines(&last, 5)
    )))
}

/// This very program.
///
/// # Errors
/// Why it is not found.
pub fn own_program() -> std::result::Result<tokio::process::Command, String> {
    let mut program = std::env::current_exe().map_err(|error| format!("is not found: {error}"))?;
    if !program.exists() {
        // Berth was upgraded while this one ran; on Linux its own file can still be started.
        program = "/proc/self/exe".into();
    }
    Ok(tokio::process::Command::new(program))
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
    engine_answers(opened, START_DEADLINE).await?;
    let failed = Error::provision(&opened.record.name);
    let engine = Engine::over_unix(&opened.folder.engine_socket());
    let version = match engine {
        Ok(engine) => engine.version().await,
        Err(error) => Err(error),
    };
    Ok(version.map_err(failed)?.engine)
}

/// Waits until the engine answers on the machine's socket on this computer.
///
/// # Errors
/// [`Error::Timeout`].
pub async fn engine_answers(opened: &Opened, deadline: Duration) -> Result<()> {
    let until = tokio::time::Instant::now() + deadline;
    let mut pause = Duration::from_millis(50);
    let socket = opened.folder.engine_socket();
    loop {
        let asked = async {
            Engine::over_unix(&socket)
                .map_err(Error::provision(&opened.record.name))?
                .ping()
                .await
                .map_err(Error::provision(&opened.record.name))
        };
        match tokio::time::timeout_at(until, asked).await {
            Ok(Ok(())) => return Ok(()),
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
