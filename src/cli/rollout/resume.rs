//! `berth rollout resume`

use std::process::ExitCode;

use anyhow::Result;

use super::go::{self, Shown};
use crate::cli::apply;
use crate::cli::error::Usage;
use crate::cli::fleet_args::FleetArgs;
use crate::cli::progress::Screen;
use crate::fleet::rollout::{Job, Rollout, Task, only_open};
use crate::machine::Berth;

/// Go on with a rollout that broke off or was stopped
///
/// Machines that are done are left alone; those that failed or were cut off are tried again, in the plan's order and
/// batches. Failures are counted anew. A fleet file is applied again, and asks what it asked before.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  berth rollout resume\n  berth rollout resume 20260102-030405 --rollback-all"
)]
pub struct Args {
    /// The rollout [default: the one that has not ended]
    #[arg(value_name = "ID")]
    id: Option<String>,

    /// If too many fail, bring those that were upgraded back to what they had
    #[arg(long)]
    rollback_all: bool,

    /// Print what was done, as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    fleet: FleetArgs,
}

/// Goes on.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    let id = match &args.id {
        Some(id) => id.clone(),
        None => only_open(&berth.home)?,
    };
    let rollout = Rollout::reopen(&berth.home, &id)?;
    if args.rollback_all && !matches!(rollout.plan.task, Task::Upgrade { .. }) {
        return Err(Usage(format!(
            "--rollback-all: only an upgrade can be taken back; this is {}",
            rollout.plan.task.word()
        ))
        .into());
    }
    if let Task::Apply { file, yes } = rollout.plan.task.clone() {
        // What is left is found out anew, and this rollout ended by the one that does it.
        drop(rollout);
        return apply::run(berth, &apply::Args::again(&file, yes, args.json), screen).await;
    }
    let shown = Shown {
        json: args.json,
        rollback_all: args.rollback_all,
        begins: false,
    };
    let (task, gate) = (rollout.plan.task.clone(), rollout.plan.gate.clone());
    let job = Job::new(berth, &task, gate.as_deref(), args.fleet.alone());
    go::go(berth, rollout, &job, &args.fleet, shown, screen).await
}
