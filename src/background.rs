//! Berth's own processes that go on after the command that started them: supervisors, the one that keeps connections, and
//! those that fill pools, make templates and remove machines whose time is over.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use berth_driver_api::process;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::store;

/// What a process prints once it serves.
const READY: &str = "ready";

/// How long it may take until then.
const START: Duration = Duration::from_secs(30);

/// Why a process is not there; to be read after what it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This program's own file is gone.
    #[error("is not found: {0}")]
    NotFound(io::Error),
    /// The system does not start it.
    #[error("cannot be started: {0}")]
    Spawn(berth_driver_api::Error),
    /// It ended, or said nothing; the end of its log.
    #[error("did not start: {0}")]
    Silent(String),
    /// Its log cannot be written.
    #[error("cannot be started: {0}")]
    Log(store::Error),
}

/// This very program.
///
/// # Errors
/// [`Error::NotFound`].
pub fn program() -> Result<Command, Error> {
    let mut program = std::env::current_exe().map_err(Error::NotFound)?;
    if !program.exists() {
        // Berth was upgraded while this one ran; on Linux its own file can still be started.
        program = "/proc/self/exe".into();
    }
    Ok(Command::new(program))
}

/// Starts a command for which nobody waits. What it says goes to `log`.
///
/// # Errors
/// [`Error::Spawn`].
pub fn leave(mut command: Command, log: impl Into<Stdio>) -> Result<(), Error> {
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    process::spawn_detached(command)
        .map(drop)
        .map_err(Error::Spawn)
}

/// Starts this program with `words`, its log in a new file, and returns when it serves.
///
/// # Errors
/// Why it does not.
pub async fn start(words: &[&str], log: &Path) -> Result<(), Error> {
    let log_file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(log)
        .map_err(|error| Error::Log(store::Error::io(log)(error)))?;
    let mut command = program()?;
    command
        .args(words)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log_file);
    let mut child = process::spawn_detached(command).map_err(Error::Spawn)?;
    let mut line = String::new();
    let heard = match child.stdout.take() {
        Some(stdout) => {
            let mut stdout = BufReader::new(stdout);
            tokio::time::timeout(START, stdout.read_line(&mut line)).await
        }
        None => Ok(Ok(0)),
    };
    if heard.is_ok() && line.trim() == READY {
        return Ok(());
    }
    let last = std::fs::read(log).unwrap_or_default();
    Err(Error::Silent(process::last_lines(&last, 5)))
}

/// Tells whoever started this process that it serves.
///
/// # Errors
/// If nobody listens any more.
pub async fn say_ready() -> store::Result<()> {
    let mut stdout = tokio::io::stdout();
    let said = async {
        stdout.write_all(format!("{READY}\n").as_bytes()).await?;
        stdout.flush().await
    };
    said.await.map_err(store::Error::io("standard output"))
}
