//! `berth rollout upgrade`, `exec`, `restart`, `provision`: what they have in common is all but the work.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Result;

use super::go::{self, Shown};
use super::pace::PaceArgs;
use super::report::{self, Report};
use crate::cli::error::Usage;
use crate::cli::progress::Screen;
use crate::cli::settings::SettingsArgs;
use crate::cli::words::PARTLY_FAILED;
use crate::cli::{output, report as errors};
use crate::fleet::rollout::{Job, Plan, Rollout, Task};
use crate::fleet::{Remote, Selection, Stop, default_parallel, for_each, select};
use crate::machine::{Berth, EngineWish};

/// Change the version of machines' engines in batches
///
/// Each machine is upgraded as by `berth upgrade`: containers run on meanwhile, the engine has to answer in the wanted
/// version, every container that ran has to run without having been restarted, and the gate has to succeed; otherwise the
/// machine is given back exactly what it had, and counts as a failure. A swarm's nodes are drained first and made active
/// again.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What was upgraded before a rollout stopped stays so, until `berth rollout abort --rollback` takes it \
                  back, or at once with --rollback-all.\n\
                  Exit code: 0 if all went well, 5 if a machine failed, 130 after Ctrl-C. The first Ctrl-C begins no more \
                  machines, the second cuts off those that are worked on; `berth rollout resume` goes on.\n\n\
                  Examples:\n  berth rollout upgrade --all --dry-run\n  \
                  berth rollout upgrade -l role=web --to 28.5 --canary 1 --batch 50% --pause 30s\n  \
                  berth rollout upgrade 'db*' --channel bundle:./docker.tar --batch 1 --gate 'pg_isready -h $BERTH_MACHINE'"
)]
pub struct UpgradeArgs {
    #[command(flatten)]
    selection: Selection,

    /// The version: 28.5.2, 28.5 (the newest of those), or latest; one that is named is held
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,

    /// Take it from another channel from now on: distro, upstream or bundle:PATH
    #[arg(long)]
    channel: Option<String>,

    /// If too many fail, bring those that were upgraded back to what they had
    #[arg(long)]
    rollback_all: bool,

    #[command(flatten)]
    pace: PaceArgs,
}

/// Run a command on machines in batches
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Several words after -- reach the command as they are; a single one is read by the remote shell. A \
                  command that ends with another code than 0 has failed. One that was cut off is run again by `berth \
                  rollout resume`.\n\n\
                  Examples:\n  berth rollout exec 'web*' --batch 2 --pause 30s --sudo -- systemctl restart nginx\n  \
                  berth rollout exec --all --max-failures 5% -- ./migrate.sh"
)]
pub struct ExecArgs {
    #[command(flatten)]
    selection: Selection,

    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,

    /// As root, by `sudo -n`; nothing changes where the login is root's
    #[arg(long)]
    sudo: bool,

    #[command(flatten)]
    pace: PaceArgs,
}

/// Restart machines in batches, and wait for each until its engine answers
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  berth rollout restart -l role=web --batch 25% --pause 1m\n  \
                        berth rollout restart --all --gate 'curl -fsS http://$BERTH_MACHINE/health'"
)]
pub struct RestartArgs {
    #[command(flatten)]
    selection: Selection,

    #[command(flatten)]
    pace: PaceArgs,
}

/// Bring machines' engines to what was asked for, in batches
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  berth rollout provision -l site=ship --channel bundle:./docker.tar\n  \
                        berth rollout provision --all --batch 10% --registry-mirror https://mirror.example.org"
)]
pub struct ProvisionArgs {
    #[command(flatten)]
    selection: Selection,

    /// Ask for another engine from now on: docker, docker@VERSION, docker@latest, podman or none
    #[arg(long, value_name = "KIND[@VERSION]")]
    engine: Option<String>,

    /// Take it from another channel from now on: distro, upstream or bundle:PATH; an engine that came by another one
    /// is replaced
    #[arg(long)]
    channel: Option<String>,

    #[command(flatten)]
    settings: SettingsArgs,

    #[command(flatten)]
    pace: PaceArgs,
}

/// `berth rollout upgrade`
pub async fn upgrade(berth: &Berth, args: UpgradeArgs, screen: &Screen) -> Result<ExitCode> {
    let task = Task::Upgrade {
        to: args.to,
        channel: args.channel.map(absolute),
    };
    begin(
        berth,
        task,
        &args.selection,
        &args.pace,
        args.rollback_all,
        screen,
    )
    .await
}

/// `berth rollout exec`
pub async fn exec(berth: &Berth, args: ExecArgs, screen: &Screen) -> Result<ExitCode> {
    let task = Task::Exec {
        command: Remote {
            command: args.command,
            env: Vec::new(),
            dir: None,
            sudo: args.sudo,
        },
    };
    begin(berth, task, &args.selection, &args.pace, false, screen).await
}

/// `berth rollout restart`
pub async fn restart(berth: &Berth, args: RestartArgs, screen: &Screen) -> Result<ExitCode> {
    begin(
        berth,
        Task::Restart,
        &args.selection,
        &args.pace,
        false,
        screen,
    )
    .await
}

/// `berth rollout provision`
pub async fn provision(berth: &Berth, args: ProvisionArgs, screen: &Screen) -> Result<ExitCode> {
    let task = Task::Provision {
        engine: args.engine,
        channel: args.channel.map(absolute),
        settings: args.settings.settings()?,
    };
    begin(berth, task, &args.selection, &args.pace, false, screen).await
}

/// A rollout may be resumed from another folder.
fn absolute(channel: String) -> String {
    EngineWish::parse("docker", &channel).channel
}

async fn begin(
    berth: &Berth,
    task: Task,
    selection: &Selection,
    args: &PaceArgs,
    rollback_all: bool,
    screen: &Screen,
) -> Result<ExitCode> {
    crate::cli::require_selection(selection)?;
    if !args.dry_run && !args.yes && !std::io::stdin().is_terminal() {
        return Err(Usage("there is no terminal to ask on: say --yes, or --dry-run".into()).into());
    }
    let names = select(berth, selection, crate::cli::ASK_DEADLINE).await?;
    let limit = args.fleet.alone();
    let job = Job::new(berth, &task, args.gate.as_deref(), limit);
    let parallel = args.fleet.bounds(Stop::default()).parallel;
    let looked = for_each(&names, parallel.min(default_parallel()), async |name| {
        let progress = screen.task(&name);
        let looked = job.check(&name, &*progress).await;
        progress.finish();
        looked
    })
    .await;
    screen.clear();
    let mut steps = Vec::new();
    let (mut well, mut unfit) = (Vec::new(), Vec::new());
    let mut own_code = ExitCode::SUCCESS;
    for (name, looked) in looked {
        match looked {
            Ok(Some(step)) => steps.push(step),
            Ok(None) => well.push(name),
            Err(error) => {
                own_code = errors::print(&error.into());
                unfit.push(name);
            }
        }
    }
    if !unfit.is_empty() {
        eprintln!(
            "berth: nothing was begun: {} of {} cannot take part: {}",
            unfit.len(),
            names.len(),
            report::folded(&unfit)
        );
        return Ok(match names.len() {
            1 => own_code,
            _ => ExitCode::from(PARTLY_FAILED),
        });
    }
    let plan = Plan::new(task.clone(), args.gate.clone(), args.pace(), steps);
    if !well.is_empty() {
        eprintln!("berth: nothing is to do on {}", report::folded(&well));
    }
    if args.dry_run || plan.steps.is_empty() {
        match args.json {
            true => output::line(&serde_json::to_string_pretty(&Report::of_plan(&plan))?)?,
            false if plan.steps.is_empty() => {}
            false => {
                output::line(&report::plan_table(&plan))?;
                eprintln!("berth: {}", report::pace(&plan));
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !args.json {
        output::line(&report::plan_table(&plan))?;
    }
    eprintln!("berth: {}", report::pace(&plan));
    if !args.yes && !confirmed()? {
        eprintln!("berth: nothing was begun");
        return Ok(ExitCode::SUCCESS);
    }
    let rollout = Rollout::begin(&berth.home, plan).await?;
    let shown = Shown {
        json: args.json,
        rollback_all,
        begins: true,
    };
    go::go(berth, rollout, &job, &args.fleet, shown, screen).await
}

/// Asks whether to go on.
pub fn confirmed() -> Result<bool> {
    eprint!("Go on? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
