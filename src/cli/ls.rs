//! `berth ls`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use comfy_table::Table;

use super::error::Usage;
use super::output::{self, Format};
use crate::fleet::{Selection, pick};
use crate::machine::{Berth, Row, ask_all};

/// List machines and what they do now
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  berth ls\n  berth ls --state running -q\n  berth ls --json\n  \
                        berth ls --format '{{.Name}}\\t{{.Endpoint}}'"
)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,

    /// Only the machines that wait in pools, which are not listed otherwise
    #[arg(long, conflicts_with_all = ["names", "all"])]
    waiting: bool,

    #[command(flatten)]
    format: Format,

    /// How long a machine may take to answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    timeout: f64,
}

/// Lists them.
pub async fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    let deadline = Duration::try_from_secs_f64(args.timeout)?;
    let names = match args.waiting {
        false => pick(berth, &args.selection, deadline).await?,
        true if args.selection.filters.is_empty() => berth.home.waiting_names()?,
        true => {
            return Err(
                Usage("--waiting lists all machines that wait, and only those".into()).into(),
            );
        }
    };
    if args.format.quiet {
        // Names need no machine to be asked.
        output::lines(names)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = ask_all(berth, &names, deadline).await;
    args.format.print(&rows, |row| row.name.clone(), table)?;
    Ok(ExitCode::SUCCESS)
}

fn table(rows: &[Row]) -> Table {
    let mut table = output::table([
        "NAME", "ACTIVE", "DRIVER", "STATE", "ENGINE", "SSH", "ERROR",
    ]);
    for row in rows {
        let engine = row.engine.as_ref().map(|engine| match &engine.version {
            Some(version) => format!("{} {version}", engine.kind),
            None => engine.kind.clone(),
        });
        let ssh = row
            .ssh
            .as_ref()
            .map(|ssh| format!("{}@{}:{}", ssh.user, ssh.host, ssh.port));
        table.add_row([
            row.name.clone(),
            if row.active { "*" } else { "" }.into(),
            row.driver.clone(),
            row.state.to_string(),
            engine.unwrap_or_default(),
            ssh.unwrap_or_default(),
            row.error
                .clone()
                .unwrap_or_default()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned(),
        ]);
    }
    table
}
