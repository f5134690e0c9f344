//! `berth upgrade`

use std::process::ExitCode;

use anyhow::Result;
use berth_provision::upgrade::Plan;
use serde::Serialize;

use super::each::each;
use super::output;
use super::progress::{Screen, print_timings};
use crate::fleet::{Selection, select};
use crate::machine::{self, Berth, UpgradeRequest};

/// Change the version of machines' engines, up or down, and put the old one back if the new one is not well
///
/// Containers run on meanwhile. Afterwards the engine has to answer in the wanted version, every container that ran has
/// to run without having been restarted, and the gate has to succeed; otherwise the packages that were there before,
/// which are kept in the machine, are put back.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "An upgrade that broke off goes on when it is asked for again, or is taken back by --rollback.\n\n\
                  Examples:\n  berth upgrade web1\n  berth upgrade web1 --to 28.5 --channel upstream --dry-run\n  \
                  berth upgrade web1 --to 26.1.5 --gate 'docker exec web wget -q -O - localhost'\n  \
                  berth upgrade web1 --channel bundle:./docker.tar"
)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,

    /// The version: 28.5.2, 28.5 (the newest of those), or latest; one that is named is held
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,

    /// Take it from another channel from now on: distro, upstream or bundle:PATH
    #[arg(long)]
    channel: Option<String>,

    /// A command for this computer's shell that has to succeed on the upgraded machine, in $BERTH_MACHINE; docker
    /// commands in it talk to that machine
    #[arg(long, value_name = "COMMAND")]
    gate: Option<String>,

    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,

    /// Take an upgrade back that broke off
    #[arg(long, conflicts_with_all = ["to", "channel", "gate", "dry_run"])]
    rollback: bool,

    /// Print what was done, or would be, as JSON
    #[arg(long)]
    json: bool,

    /// Show where the time went
    #[arg(long)]
    timings: bool,
}

#[derive(Serialize)]
struct Told {
    name: String,
    #[serde(flatten)]
    plan: Option<Plan>,
    changes: bool,
}

/// Upgrades them.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    super::require_selection(&args.selection)?;
    let names = select(berth, &args.selection, super::ASK_DEADLINE).await?;
    let request = UpgradeRequest {
        to: args.to.clone(),
        channel: args.channel.clone(),
        gate: args.gate.clone(),
        exactly: None,
    };
    let (done, code) = each(&names, screen, async |name: String, task| {
        let plan = if args.rollback {
            machine::roll_back(berth, &name, &*task).await?
        } else if args.dry_run {
            Some(machine::plan_upgrade(berth, &name, &request, &*task).await?)
        } else {
            Some(machine::upgrade(berth, &name, &request, &*task).await?)
        };
        Ok((plan, task.finish()))
    })
    .await;
    let mut told = Vec::new();
    for (name, (plan, timings)) in done {
        if args.timings {
            print_timings(&name, &timings);
        }
        told.push(Told {
            name,
            changes: plan.as_ref().is_some_and(|plan| !plan.is_done()),
            plan,
        });
    }
    if args.json {
        output::line(&serde_json::to_string_pretty(&told)?)?;
    } else {
        output::lines(told.iter().map(|told| describe(told, args)))?;
    }
    Ok(code)
}

fn describe(told: &Told, args: &Args) -> String {
    let name = &told.name;
    let Some(plan) = &told.plan else {
        return format!("{name}: no upgrade broke off here");
    };
    let (from, to) = (&plan.from, &plan.to);
    if args.rollback {
        return format!("{name}: has {from} again");
    }
    if plan.is_done() {
        return format!("{name}: has {to} already");
    }
    let held = if plan.held { ", held" } else { "" };
    let what = format!("{from} → {to} ({}{held})", plan.channel);
    match (args.dry_run, plan.containers.len()) {
        (false, _) => format!("{name}: {what}"),
        (true, 0) => format!("{name}: would go {what}; no container runs"),
        (true, _) => format!(
            "{name}: would go {what}; {} run on",
            plan.containers.join(", ")
        ),
    }
}
