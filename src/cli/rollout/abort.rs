//! `berth rollout abort`

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use super::back::take_all_back;
use super::begin::confirmed;
use super::go::finish;
use super::report::folded;
use crate::cli::error::Usage;
use crate::cli::fleet_args::FleetArgs;
use crate::cli::interrupt;
use crate::cli::progress::Screen;
use crate::fleet::Stop;
use crate::fleet::rollout::{Event, Job, Rollout, Task, look, only_open};
use crate::machine::{self, Berth};

/// End a rollout that broke off or was stopped; machines are left as they are, or brought back
///
/// With --rollback, every machine that the rollout has worked on gets back exactly the version, the channel and the hold
/// that it had, from the packages that it keeps since: no network is needed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  berth rollout abort\n  berth rollout abort 20260102-030405 --rollback --yes"
)]
pub struct Args {
    /// The rollout [default: the one that has not ended]
    #[arg(value_name = "ID")]
    id: Option<String>,

    /// Bring machines that were upgraded back to what they had
    #[arg(long)]
    rollback: bool,

    /// Do not ask
    #[arg(short = 'y', long)]
    yes: bool,

    /// Print how it stands then, as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    fleet: FleetArgs,
}

/// Ends it.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    let began = Instant::now();
    let id = match &args.id {
        Some(id) => id.clone(),
        None => only_open(&berth.home)?,
    };
    let rollout = Rollout::reopen(&berth.home, &id)?;
    if !args.rollback {
        let mut halfway = Vec::new();
        for step in &rollout.plan.steps {
            if machine::upgrade_broke_off(berth, &step.name).unwrap_or(false) {
                halfway.push(step.name.clone());
            }
        }
        rollout.journal.note(Event::Aborted, None, None, None)?;
        drop(rollout);
        if !halfway.is_empty() {
            let first = halfway.first().map_or("NAME", String::as_str);
            eprintln!(
                "berth: an upgrade broke off on {}: `berth upgrade {first} --rollback` takes it back",
                folded(&halfway)
            );
        }
        finish(&look(&berth.home, &id)?, began, args.json, false)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !matches!(rollout.plan.task, Task::Upgrade { .. }) {
        return Err(Usage(format!(
            "only an upgrade can be taken back; this is {}",
            rollout.plan.task.word()
        ))
        .into());
    }
    if !args.yes {
        if !std::io::stdin().is_terminal() {
            return Err(Usage("there is no terminal to ask on: say --yes".into()).into());
        }
        eprintln!("berth: machines of rollout {id} go back to what they had before it");
        if !confirmed()? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let stop = Stop::default();
    interrupt::listen(stop.clone())?;
    let bounds = args.fleet.bounds(stop);
    let plan = &rollout.plan;
    let job = Job::new(berth, &plan.task, plan.gate.as_deref(), None);
    let all_back = take_all_back(&rollout, &job, &bounds, screen).await?;
    let interrupted = bounds.stop.starting.is_cancelled();
    drop(job);
    drop(rollout);
    let code = finish(&look(&berth.home, &id)?, began, args.json, interrupted)?;
    Ok(match all_back {
        true => ExitCode::SUCCESS,
        false => code,
    })
}
