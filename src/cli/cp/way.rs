//! The way of an archive to a machine or from it.

use std::process::{ExitStatus, Stdio};

use anyhow::{Result, anyhow};
use berth_driver_api::process;
use berth_provision::ssh::quote;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::super::error::NotReady;
use super::super::ssh::ssh_command;
use crate::context::ssh_config;
use crate::fleet::run_line;
use crate::kept::Kept;
use crate::machine::Opened;

/// So much of what a side says is kept, in bytes.
const WORDS_LIMIT: usize = 4 << 10;

/// What carries it.
#[derive(Clone, Copy)]
pub enum Way<'a> {
    /// The system's ssh, which moves a large archive to one machine the fastest.
    System,
    /// A connection of berth's own, which is made the fastest, or is kept.
    Own(Option<&'a Kept>),
}

/// How one side of a copy ended.
pub struct Ended {
    good: bool,
    how: String,
    /// What it said on standard error, at last.
    words: String,
}

impl Way<'_> {
    /// Has a machine's shell read the archive.
    pub async fn send(self, opened: &Opened, script: &str, stream: ChildStdout) -> Result<Ended> {
        match self {
            Way::System => {
                let mut ssh = ssh(opened, script)?;
                ended(ssh.stdin(TryInto::<Stdio>::try_into(stream)?).spawn()?).await
            }
            Way::Own(kept) => own(opened, kept, script, stream, tokio::io::sink()).await,
        }
    }

    /// Has a machine's shell write the archive.
    pub async fn fetch(self, opened: &Opened, script: &str, stream: ChildStdin) -> Result<Ended> {
        match self {
            Way::System => {
                let mut ssh = ssh(opened, script)?;
                ssh.stdin(Stdio::null());
                ended(ssh.stdout(TryInto::<Stdio>::try_into(stream)?).spawn()?).await
            }
            Way::Own(kept) => own(opened, kept, script, tokio::io::empty(), stream).await,
        }
    }
}

fn ssh(opened: &Opened, script: &str) -> Result<Command> {
    let mut command = Command::from(ssh_command(opened)?);
    command
        .kill_on_drop(true)
        .stderr(Stdio::piped())
        .arg("-T")
        .arg(ssh_config::alias(&opened.record.name))
        .arg("--")
        .arg(in_shell(script));
    Ok(command)
}

/// For login shells that are none of POSIX's.
fn in_shell(script: &str) -> String {
    format!("sh -c {}", quote(script))
}

async fn own(
    opened: &Opened,
    kept: Option<&Kept>,
    script: &str,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
) -> Result<Ended> {
    let (stderr, said) = tokio::io::duplex(WORDS_LIMIT);
    let line = |_: &str| in_shell(script);
    let running = run_line(opened, kept, line, input, output, stderr);
    let (code, words) = tokio::join!(running, last_words(said));
    let code = code?;
    Ok(Ended {
        good: code == 0,
        how: format!("exit status: {code}"),
        words,
    })
}

/// Waits for a process of this computer's.
pub async fn ended(mut process: Child) -> Result<Ended> {
    let stderr = process.stderr.take();
    let said = async {
        match stderr {
            Some(stderr) => last_words(stderr).await,
            None => String::new(),
        }
    };
    let (status, words) = tokio::join!(process.wait(), said);
    let status: ExitStatus = status?;
    Ok(Ended {
        good: status.success(),
        how: status.to_string(),
        words,
    })
}

/// A process of tar's, with its standard error kept.
pub fn tar() -> Result<Command> {
    let program = process::find("tar").ok_or_else(|| NotReady("tar is not installed".into()))?;
    let mut command = Command::new(program);
    command.kill_on_drop(true).stderr(Stdio::piped());
    Ok(command)
}

/// Refuses a copy of which a side failed. What they said may be the guest's words: it is shown without what a terminal
/// would obey.
pub fn both_good(machine: &str, packed: &Ended, unpacked: &Ended) -> Result<()> {
    for line in packed.words.lines().chain(unpacked.words.lines()) {
        eprintln!("{machine}: {line}");
    }
    if packed.good && unpacked.good {
        return Ok(());
    }
    Err(anyhow!(
        "machine {machine}: the copy failed (packing: {}, unpacking: {})",
        packed.how,
        unpacked.how
    ))
}

async fn last_words(mut stderr: impl AsyncRead + Unpin) -> String {
    let mut said = Vec::new();
    while let Ok(1..) = stderr.read_buf(&mut said).await {
        said.drain(..said.len().saturating_sub(WORDS_LIMIT));
    }
    process::last_lines(&said, 5)
}
