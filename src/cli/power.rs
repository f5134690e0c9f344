//! `berth start`, `stop`, `restart`, `kill`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use super::each::each;
use super::output;
use super::progress::{Screen, Timing, print_timings};
use crate::fleet::{Selection, select};
use crate::machine::{self, Berth};

/// Start machines and wait until their engines answer
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Starting a machine that runs is a success, and mends its endpoint and context."
)]
pub struct StartArgs {
    #[command(flatten)]
    selection: Selection,

    #[command(flatten)]
    boot: BootArgs,
}

/// Shut machines down
#[derive(Debug, clap::Args)]
#[command(after_help = "The guest is asked; after --grace seconds it is killed.")]
pub struct StopArgs {
    #[command(flatten)]
    selection: Selection,

    #[command(flatten)]
    grace: GraceArgs,
}

/// Shut machines down and start them again
#[derive(Debug, clap::Args)]
pub struct RestartArgs {
    #[command(flatten)]
    selection: Selection,

    #[command(flatten)]
    grace: GraceArgs,

    #[command(flatten)]
    boot: BootArgs,
}

/// Power machines off at once, as if their cable was pulled
#[derive(Debug, clap::Args)]
pub struct KillArgs {
    #[command(flatten)]
    selection: Selection,
}

#[derive(Debug, clap::Args)]
pub(super) struct BootArgs {
    /// How long the guest may take to answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,

    /// Show where the time went
    #[arg(long)]
    pub(super) timings: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct GraceArgs {
    /// How long the guest may take to shut down, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    grace: u64,
}

impl BootArgs {
    pub(super) fn deadline(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

impl GraceArgs {
    pub(super) fn deadline(&self) -> Duration {
        Duration::from_secs(self.grace)
    }
}

/// `berth start`
pub async fn start(berth: &Berth, args: &StartArgs, screen: &Screen) -> Result<ExitCode> {
    let deadline = args.boot.deadline();
    let names = named(berth, &args.selection).await?;
    let (done, code) = each(&names, screen, async |name: String, task| {
        machine::start(berth, &name, deadline, &*task).await?;
        Ok(task.finish())
    })
    .await;
    finish(done, args.boot.timings, code)
}

/// `berth stop`
pub async fn stop(berth: &Berth, args: &StopArgs, screen: &Screen) -> Result<ExitCode> {
    let grace = args.grace.deadline();
    let names = named(berth, &args.selection).await?;
    let (done, code) = each(&names, screen, async |name: String, task| {
        machine::stop(berth, &name, grace, &*task).await?;
        Ok(task.finish())
    })
    .await;
    finish(done, false, code)
}

/// `berth restart`
pub async fn restart(berth: &Berth, args: &RestartArgs, screen: &Screen) -> Result<ExitCode> {
    let (grace, deadline) = (args.grace.deadline(), args.boot.deadline());
    let names = named(berth, &args.selection).await?;
    let (done, code) = each(&names, screen, async |name: String, task| {
        machine::restart(berth, &name, grace, deadline, &*task).await?;
        Ok(task.finish())
    })
    .await;
    finish(done, args.boot.timings, code)
}

/// `berth kill`
pub async fn kill(berth: &Berth, args: &KillArgs, screen: &Screen) -> Result<ExitCode> {
    let names = named(berth, &args.selection).await?;
    let (done, code) = each(&names, screen, async |name: String, task| {
        machine::kill(berth, &name, &*task).await?;
        Ok(task.finish())
    })
    .await;
    finish(done, false, code)
}

pub(super) async fn named(berth: &Berth, selection: &Selection) -> Result<Vec<String>> {
    super::require_selection(selection)?;
    Ok(select(berth, selection, super::ASK_DEADLINE).await?)
}

pub(super) fn finish(
    done: Vec<(String, Vec<Timing>)>,
    timings: bool,
    code: ExitCode,
) -> Result<ExitCode> {
    for (name, times) in done.iter().filter(|_| timings) {
        print_timings(name, times);
    }
    output::lines(done.into_iter().map(|(name, _)| name))?;
    Ok(code)
}
