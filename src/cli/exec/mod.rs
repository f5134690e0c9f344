//! `berth exec`

mod groups;
pub(super) mod lines;
mod records;
mod run;
pub(super) mod text;

use std::io::{BufWriter, ErrorKind, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use self::groups::Groups;

use self::run::{Job, gathered, streamed};
use self::text::Shown;
use super::error::{Interrupted, Usage};
use super::fates::Fates;
use super::fleet_args::FleetArgs;
use super::interrupt;
use super::progress::Screen;
use super::rollout::pace::pause;
use super::tally::Tally;
use super::words::{INTERRUPTED, PARTLY_FAILED};
use crate::fleet::{Broadcast, Remote, Selection, Stop, select, variable};
use crate::kept::{self, Kept};
use crate::machine::Berth;

/// Run a command on many machines at once
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Several words after -- reach the command as they are; a single one is read by the remote shell.\n\
                        Output is shown when all is done, identical output once under the machines' names; --stream \
                        shows it as it comes. The summary is on stderr.\n\
                        Exit code: 0 if the command ended with 0 everywhere, 5 if it did not on some machine (also \
                        where there is only one), 130 after Ctrl-C.\n\
                        The first Ctrl-C begins no more machines, the second cuts off those that run. A command that is \
                        cut off may go on in its machine.\n\
                        While connections are kept, every exec uses them, with --keep or without, and so does every cp with many machines.\n\n\
                        Examples:\n  berth exec --all -- uname -r\n  berth exec 'web*' --sudo -- systemctl restart nginx\n  \
                        berth exec -l role=db --timeout 60 --json -- df -P /\n  \
                        berth exec -l role!=db -i -- sh -s < script.sh\n  \
                        berth exec 'web*' --stream -- 'journalctl -f | grep nginx'\n  \
                        berth exec --all --keep 5m -- uptime      connections stay for the next ones\n  \
                        berth exec --keep 0                       and are ended"
)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,

    /// The command
    #[arg(last = true, required_unless_present = "keep", value_name = "CMD")]
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

    /// Keep the connections open for later commands, each so long after its last use: 30s, 5m, 1h; 0 ends what is kept
    #[arg(long, value_name = "TIME", value_parser = pause, help_heading = "Fleet")]
    keep: Option<Duration>,

    #[command(flatten)]
    fleet: FleetArgs,
}

/// Runs it.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    if args.keep == Some(Duration::ZERO) {
        kept::end(&berth.home).await?;
        if args.command.is_empty() && args.selection.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
    }
    if args.command.is_empty() {
        return Err(Usage("say the command: `berth exec … -- CMD`".into()).into());
    }
    super::require_selection(&args.selection)?;
    let stop = Stop::default();
    interrupt::listen(stop.clone())?;
    let preparing = async {
        let names = select(berth, &args.selection, super::ASK_DEADLINE).await?;
        let input = match args.stdin {
            false => Broadcast::empty(),
            true => input().await?,
        };
        let kept = match args.keep {
            Some(keep) if !keep.is_zero() => Some(Kept::started(&berth.home, keep).await?),
            _ => Kept::running(&berth.home),
        };
        anyhow::Ok((names, input, kept))
    };
    let (names, input, kept) = tokio::select! {
        prepared = preparing => prepared?,
        () = stop.starting.cancelled() => return Err(Interrupted.into()),
    };
    let remote = Remote {
        command: args.command.clone(),
        env: args.env.clone(),
        dir: args.cd.clone(),
        sudo: args.sudo,
    };
    let bounds = args.fleet.bounds(stop);
    let task = (!args.stream).then(|| screen.task("exec"));
    let tally = Tally::new(task, names.len());
    let job = Job {
        berth,
        names: &names,
        bounds: &bounds,
        tally: &tally,
        remote,
        input,
        kept,
    };
    let shown = |terminal| Shown { terminal };
    let shown = (
        shown(std::io::stdout().is_terminal()),
        shown(std::io::stderr().is_terminal()),
    );
    let mut fates = Fates::default();
    let printed = if args.stream {
        streamed(&job, shown, &mut fates).await?
    } else if args.json {
        let mut outcomes = Vec::new();
        gathered(&job, &mut fates, |outcome| outcomes.push(outcome)).await;
        screen.clear();
        records::print(outcomes, BufWriter::new(std::io::stdout().lock()))
    } else {
        let mut groups = Groups::default();
        gathered(&job, &mut fates, |outcome| groups.add(outcome)).await;
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
