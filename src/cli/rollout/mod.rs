//! `berth rollout`

mod abort;
mod back;
mod begin;
mod go;
pub(super) mod pace;
mod report;
mod resume;
mod show;

use std::process::ExitCode;

use anyhow::Result;

use super::progress::Screen;
use crate::machine::Berth;

/// Take a change across machines in batches, and stop when it does harm
///
/// Every machine is looked at first; a table tells what would be done, and is agreed to. Then the first machines go alone
/// (--canary), the others in batches. Each machine is held by a lock of its own, so that no other rollout works on it,
/// whoever's computer that runs on. What happens is written down: a rollout that broke off goes on with `resume`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:\n  berth rollout upgrade --all --dry-run\n  \
     berth rollout upgrade -l role=web --to 28.5 --canary 1 --batch 50% --pause 30s --gate './smoke.sh'\n  \
     berth rollout exec 'web*' --batch 2 --sudo -- systemctl restart nginx\n  \
     berth rollout restart -l site=ship --max-failures 10%\n  \
     berth rollout status\n  berth rollout resume\n  berth rollout abort --rollback";

#[derive(Debug, clap::Subcommand)]
enum Command {
    Upgrade(begin::UpgradeArgs),
    Exec(begin::ExecArgs),
    Restart(begin::RestartArgs),
    Provision(begin::ProvisionArgs),
    Status(show::StatusArgs),
    Resume(resume::Args),
    Abort(abort::Args),
    History(show::HistoryArgs),
}

/// Carries it out.
pub async fn run(berth: &Berth, args: Args, screen: &Screen) -> Result<ExitCode> {
    match args.command {
        Command::Upgrade(args) => begin::upgrade(berth, args, screen).await,
        Command::Exec(args) => begin::exec(berth, args, screen).await,
        Command::Restart(args) => begin::restart(berth, args, screen).await,
        Command::Provision(args) => begin::provision(berth, args, screen).await,
        Command::Status(args) => show::status(berth, &args),
        Command::Resume(args) => resume::run(berth, &args, screen).await,
        Command::Abort(args) => abort::run(berth, &args, screen).await,
        Command::History(args) => show::history(berth, &args),
    }
}
