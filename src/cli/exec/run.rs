//! The command on every machine: one connection each, what it writes kept or printed as it comes.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use tokio::io::AsyncWrite;
use tokio::sync::Mutex;

use super::super::fates::Fates;
use super::super::ssh::reachable;
use super::super::tally::Tally;
use super::lines;

use super::text::Shown;
use crate::fleet::{Bounds, Broadcast, Capture, Captured, Fate, Remote, crew, run_line};
use crate::kept::Kept;
use crate::machine::Berth;

/// What waits between a connection and the printing of lines, in bytes.
const PIPE: usize = 32 << 10;

/// What every machine is given, where, and within which bounds.
pub struct Job<'a> {
    pub berth: &'a Berth,
    pub names: &'a [String],
    pub bounds: &'a Bounds,
    pub tally: &'a Tally,
    pub remote: Remote,
    pub input: Broadcast,
    pub kept: Option<Kept>,
}

/// What came of one machine.
pub struct Outcome {
    /// Its place in the selection.
    pub at: usize,
    /// Its name.
    pub name: String,
    /// The command's exit code; none if it did not come to its end.
    pub rc: Option<i32>,
    /// From its turn to its end.
    pub took: Duration,
    /// What the command wrote.
    pub stdout: Captured,
    /// What it complained of.
    pub stderr: Captured,
    /// Why there is no exit code.
    pub error: Option<String>,
}
/// What a machine's command has written so far.
#[derive(Default)]
struct Streams {
    stdout: Capture,
    stderr: Capture,
}

impl Streams {
    async fn finish(self) -> std::io::Result<(Captured, Captured)> {
        Ok((self.stdout.finish().await?, self.stderr.finish().await?))
    }
}

/// Runs the command everywhere and hands over each outcome as it is there.
pub async fn gathered(job: &Job<'_>, fates: &mut Fates, mut take: impl FnMut(Outcome)) {
    let tally = job.tally;
    // What a command wrote outlives it: one that is cut off has said something too.
    let streams: Vec<Mutex<Streams>> = job.names.iter().map(|_| Mutex::default()).collect();
    let work = |at: usize, name| {
        tally.begins(name);
        let kept = streams.get(at);
        async move {
            let kept = kept.context("no such machine in the selection")?;
            let mut kept = kept.lock().await;
            let Streams { stdout, stderr } = &mut *kept;
            one(job, name, stdout, stderr).await
        }
    };
    let mut endings = std::pin::pin!(crew(job.names, job.bounds, work));
    while let Some(mut ended) = endings.next().await {
        let kept = match streams.get(ended.at) {
            Some(kept) => std::mem::take(&mut *kept.lock().await),
            None => Streams::default(),
        };
        let (stdout, stderr) = match kept.finish().await {
            Ok(complete) => complete,
            Err(error) => {
                let what = format!("machine {}: its output could not be kept", ended.name);
                ended.fate = Fate::Done(Err(anyhow::Error::new(error).context(what)));
                Default::default()
            }
        };
        let (at, name, took) = (ended.at, ended.name.clone(), ended.took);
        let (rc, error) = fates.add(ended);
        tally.ends(&name, rc == Some(0));
        take(Outcome {
            at,
            name,
            rc,
            took,
            stdout,
            stderr,
            error,
        });
    }
    tally.finish();
}

/// Runs the command everywhere and prints lines as they come.
pub async fn streamed(
    job: &Job<'_>,
    shown: (Shown, Shown),
    fates: &mut Fates,
) -> Result<std::io::Result<()>> {
    let tally = job.tally;
    let (lines, printing) = lines::printer(shown, job.bounds.stop.clone());
    let work = |_, name| {
        tally.begins(name);
        let lines = &lines;
        async move {
            let (stdout, out) = tokio::io::duplex(PIPE);
            let (stderr, err) = tokio::io::duplex(PIPE);
            let running = one(job, name, stdout, stderr);
            let pumping = futures_util::future::join(
                lines.pump(name, false, out),
                lines.pump(name, true, err),
            );
            let (outcome, _) = tokio::join!(running, pumping);
            outcome
        }
    };
    {
        let mut endings = std::pin::pin!(crew(job.names, job.bounds, work));
        while let Some(ended) = endings.next().await {
            let name = ended.name.clone();
            let (rc, _) = fates.add(ended);
            tally.ends(&name, rc == Some(0));
        }
    }
    drop(lines);
    printing.await.context("the printer of lines ended early")
}

/// Runs the command in one machine, on one connection: one that is kept, if connections are.
async fn one(
    job: &Job<'_>,
    name: &str,
    stdout: impl AsyncWrite + Unpin,
    stderr: impl AsyncWrite + Unpin,
) -> Result<i32> {
    let opened = reachable(job.berth, name).await?;
    let line = |user: &str| job.remote.line(user);
    let input = job.input.clone();
    Ok(run_line(&opened, job.kept.as_ref(), line, input, stdout, stderr).await?)
}
