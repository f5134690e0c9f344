//! `berth swarm status`

use std::process::ExitCode;

use anyhow::Result;
use futures_util::future::try_join_all;

use super::super::output;
use super::super::report::printable;
use super::super::words::PARTLY_FAILED;
use crate::fleet::swarm::{Row, Status, names, status};
use crate::machine::Berth;

/// Tell how swarms are, and have their docker contexts lead to managers that live
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 if every node is ready and the managers decide, 5 if not.\n\n\
                  Examples:\n  berth swarm status\n  berth swarm status prod --json"
)]
pub struct Args {
    /// The swarm; without it all of them
    #[arg(value_name = "SWARM")]
    name: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Tells it.
pub async fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    let names = match &args.name {
        Some(name) => vec![name.clone()],
        None => names(berth)?,
    };
    let all = try_join_all(names.iter().map(|name| status(berth, name))).await?;
    if args.json {
        output::line(&serde_json::to_string_pretty(&all)?)?;
    } else {
        for status in &all {
            show(status)?;
        }
    }
    Ok(match all.iter().all(Status::is_well) {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(PARTLY_FAILED),
    })
}

fn show(status: &Status) -> Result<()> {
    let head = match (&status.error, &status.manager) {
        (Some(error), _) => error.clone(),
        (None, manager) => format!(
            "swarm {}: docker's context leads to {}; {}",
            status.name,
            manager.as_deref().unwrap_or("nobody"),
            match status.spare {
                0 => "no manager may be lost".to_owned(),
                1 => "one more manager may be lost".to_owned(),
                n => format!("{n} more managers may be lost"),
            }
        ),
    };
    output::line(&printable(&head))?;
    let mut table = output::table([
        "MACHINE",
        "ROLE",
        "STATE",
        "AVAILABILITY",
        "ADDRESS",
        "ENGINE",
        "ERROR",
    ]);
    for row in &status.nodes {
        table.add_row(cells(row));
    }
    output::line(&table.trim_fmt())
}

fn cells(row: &Row) -> [String; 7] {
    let text = |field: &Option<String>| printable(field.as_deref().unwrap_or_default());
    let machine = match (&row.machine, &row.hostname) {
        (Some(machine), _) => machine.clone(),
        // A node that is no machine of berth's.
        (None, hostname) => format!("({})", text(hostname)),
    };
    let role = row.role.map(|role| role.to_string()).unwrap_or_default();
    let role = match row.leader {
        true => format!("{role}, leads"),
        false => role,
    };
    let error = text(&row.error);
    [
        machine,
        role,
        row.state.clone(),
        text(&row.availability),
        text(&row.address),
        text(&row.engine),
        error.lines().next().unwrap_or_default().to_owned(),
    ]
}
