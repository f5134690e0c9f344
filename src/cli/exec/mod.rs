//! `berth exec`

mod groups;
mod lines;
mod records;
mod remote;
mod text;

use std::io::{BufWriter, ErrorKind, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use tokio::io::AsyncWrite;
use tokio::sync::Mutex;

use self::groups::Groups;
use self::remote::{Remote, variable};
use self::text::Shown;
use super::error::{Interrupted, Usage};
use super::fates::Fates;
use super::fleet_args::FleetArgs;
use super::interrupt;
use super::progress::Screen;
use super::ssh::reachable;
use super::tally::Tally;
use super::words::{INTERRUPTED, PARTLY_FAILED};
use crate::fleet::{Bounds, Broadcast, Capture, Captured, Selection, Stop, crew, select};
use crate::machine::{Berth, Error};

/// How long a machine that runs may take to let us in.
const CONNECTING: Duration = Duration::from_secs(30);

/// What waits between a connection and the printing of lines, in bytes.
const PIPE: usize = 32 << 10;

/// Run a command on many machines at once
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Several words after -- reach the command as they are; a single one is read by the remote shell.\n\
                        Output is shown when all is done, identical output once under the machines' names; --stream \
                        shows it as it comes. The summary is on stderr.\n\
                        Exit code: 0 if the command ended with 0 everywhere, 5 if it did not on some machine (also \
                        where there is only one), 130 after Ctrl-C.\n\
                        The first Ctrl-C begins no more machines, the second cuts off those that run. A command that is \
                        cut off may go on in its machine.\n\n\
                        Examples:\n  berth exec --all -- uname -r\n  berth exec 'web*' --sudo -- systemctl restart nginx\n  \
                        berth exec -l role=db --timeout 60 --json -- df -P /\n  \
                        berth exec -l role!=db -i -- sh -s < script.sh\n  \
                        berth exec 'web*' --stream -- 'journalctl -f | grep nginx'"
)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,

    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,

    /// Give each machine's command all of standard input, which is read to its end first
    #[arg(short = 'i', long)]
    stdin: bool,

    /// As root, by `sudo -n`; nothing changes where the login is root's
    #[arg(long)]
    sudo: bool,

    /// Set a variable for the command; other users of the machine may see it (repeatable)
    #[arg(short = 'e', long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,

    /// The folder to run it in
    #[arg(long, value_name = "DIR", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    cd: Option<String>,

    /// Show lines as they come, each behind its machine's name
    #[arg(long, conflicts_with = "json")]
    stream: bool,

    /// Print JSON: name, changed, rc, duration, stdout, stderr, error
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    fleet: FleetArgs,
}

/// What came of one machine.
pub struct Outcome {
    /// Its place in the selection.
    at: usize,
    name: String,
    /// The command's exit code; none if it did not come to its end.
    rc: Option<i32>,
    took: Duration,
    stdout: Captured,
    stderr: Captured,
    error: Option<String>,
}

/// What a machine's command has written so far.
#[derive(Default)]
struct Streams {
    stdout: Capture,
    stderr: Capture,
}

/// What every machine is given.
struct Job {
    remote: Remote,
    input: Broadcast,
}

/// Runs it.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    super::require_selection(&args.selection)?;
    let stop = Stop::default();
    interrupt::listen(stop.clone())?;
    let preparing = async {
        let names = select(berth, &args.selection, super::ASK_DEADLINE).await?;
        let input = match args.stdin {
            false => Broadcast::empty(),
            true => input().await?,
        };
        anyhow::Ok((names, input))
    };
    let (names, input) = tokio::select! {
        prepared = preparing => prepared?,
        () = stop.starting.cancelled() => return Err(Interrupted.into()),
    };
    let remote = Remote {
        command: args.command.clone(),
        env: args.env.clone(),
        dir: args.cd.clone(),
        sudo: args.sudo,
    };
    let job = Job { remote, input };
    let bounds = args.fleet.bounds(stop);
    let task = (!args.stream).then(|| screen.task("exec"));
    let tally = Tally::new(task, names.len());
    let shown = (
        Shown {
            terminal: std::io::stdout().is_terminal(),
        },
        Shown {
            terminal: std::io::stderr().is_terminal(),
        },
    );
    let mut fates = Fates::default();
    let printed = if args.stream {
        streamed(berth, &names, &bounds, &job, &tally, shown, &mut fates).await?
    } else if args.json {
        let mut outcomes = Vec::new();
        gathered(
            berth,
            &names,
            &bounds,
            &job,
            &tally,
            &mut fates,
            |outcome| {
                outcomes.push(outcome);
            },
        )
        .await?;
        screen.clear();
        records::print(outcomes, BufWriter::new(std::io::stdout().lock()))
    } else {
        let mut groups = Groups::default();
        gathered(
            berth,
            &names,
            &bounds,
            &job,
            &tally,
            &mut fates,
            |outcome| {
                groups.add(outcome);
            },
        )
        .await?;
        screen.clear();
        let out = BufWriter::new(std::io::stdout().lock());
        groups.print(out, std::io::stderr().lock(), shown)
    };
    let code = match fates.all_well() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(PARTLY_FAILED),
    };
    match printed {
        // Who reads no more wants no more words either.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(code),
        printed => printed?,
    }
    if !args.json {
        fates.print_errors();
    }
    eprintln!("berth: {}", tally.summary(&fates.in_order()));
    Ok(match bounds.stop.starting.is_cancelled() {
        true => ExitCode::from(INTERRUPTED),
        false => code,
    })
}

async fn input() -> Result<Broadcast> {
    if std::io::stdin().is_terminal() {
        return Err(Usage("--stdin takes a file or a pipe: `berth exec … < FILE`".into()).into());
    }
    let input = Broadcast::read(tokio::io::stdin()).await;
    input.context("standard input could not be read")
}

/// Runs the command everywhere and hands over each outcome as it is there.
async fn gathered(
    berth: &Berth,
    names: &[String],
    bounds: &Bounds,
    job: &Job,
    tally: &Tally,
    fates: &mut Fates,
    mut take: impl FnMut(Outcome),
) -> Result<()> {
    // What a command wrote outlives it: one that is cut off has said something too.
    let streams: Vec<Mutex<Streams>> = names.iter().map(|_| Mutex::default()).collect();
    let work = |at: usize, name| {
        tally.begins(name);
        let kept = streams.get(at);
        async move {
            let kept = kept.context("no such machine in the selection")?;
            let mut kept = kept.lock().await;
            let Streams { stdout, stderr } = &mut *kept;
            one(berth, name, job, stdout, stderr).await
        }
    };
    let mut endings = std::pin::pin!(crew(names, bounds, work));
    while let Some(ended) = endings.next().await {
        let Streams { stdout, stderr } = match streams.get(ended.at) {
            Some(kept) => std::mem::take(&mut *kept.lock().await),
            None => Streams::default(),
        };
        let (at, name, took) = (ended.at, ended.name.clone(), ended.took);
        let (rc, error) = fates.add(ended);
        tally.ends(&name, rc == Some(0));
        take(Outcome {
            at,
            name,
            rc,
            took,
            stdout: stdout
                .finish()
                .await
                .context("the output could not be kept")?,
            stderr: stderr
                .finish()
                .await
                .context("the output could not be kept")?,
            error,
        });
    }
    tally.finish();
    Ok(())
}

/// Runs the command everywhere and prints lines as they come.
async fn streamed(
    berth: &Berth,
    names: &[String],
    bounds: &Bounds,
    job: &Job,
    tally: &Tally,
    shown: (Shown, Shown),
    fates: &mut Fates,
) -> Result<std::io::Result<()>> {
    let (lines, printing) = lines::printer(shown, bounds.stop.clone());
    let work = |_, name| {
        tally.begins(name);
        let lines = &lines;
        async move {
            let (stdout, out) = tokio::io::duplex(PIPE);
            let (stderr, err) = tokio::io::duplex(PIPE);
            let running = one(berth, name, job, stdout, stderr);
            let pumping = futures_util::future::join(
                lines.pump(name, false, out),
                lines.pump(name, true, err),
            );
            let (outcome, _) = tokio::join!(running, pumping);
            outcome
        }
    };
    {
        let mut endings = std::pin::pin!(crew(names, bounds, work));
        while let Some(ended) = endings.next().await {
            let name = ended.name.clone();
            let (rc, _) = fates.add(ended);
            tally.ends(&name, rc == Some(0));
        }
    }
    drop(lines);
    printing.await.context("the printer of lines ended early")
}

/// Runs the command in one machine, on one connection.
async fn one(
    berth: &Berth,
    name: &str,
    job: &Job,
    stdout: impl AsyncWrite + Unpin,
    stderr: impl AsyncWrite + Unpin,
) -> Result<i32> {
    let opened = reachable(berth, name).await?;
    let session = opened.connect(CONNECTING).await?;
    let line = job.remote.line(session.user());
    let ran = session.exec_streams(&line, job.input.clone(), stdout, stderr);
    let code = ran.await.map_err(Error::provision(name))?;
    session.disconnect().await;
    Ok(code)
}
