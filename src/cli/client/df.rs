//! `berth df`

use std::process::ExitCode;

use anyhow::Result;

use super::super::output::{self, Format};
use super::{Asking, size};
use crate::machine::Berth;

/// Tell what the engines of many machines take of their disks
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without a selection: all machines that run. Exit code 5 if an engine did not answer.\n\n\
                  Examples:\n  berth df\n  berth df -l role=ci --timeout 60\n  \
                  berth exec -l role=ci -- docker system prune -f"
)]
pub struct Args {
    #[command(flatten)]
    asking: Asking,

    #[command(flatten)]
    format: Format,
}

/// Tells it.
pub async fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    let names = args.asking.machines(berth).await?;
    let asked = args
        .asking
        .ask(berth, &names, async |engine| engine.disk_usage().await);
    let answers = asked.await;
    args.format.print(
        &answers.rows,
        |of| format!("{} {}", of.machine, of.row.kind),
        |rows| {
            let mut table =
                output::table(["MACHINE", "KIND", "COUNT", "IN USE", "SIZE", "RECLAIMABLE"]);
            for of in rows {
                table.add_row([
                    of.machine.clone(),
                    of.row.kind.to_owned(),
                    of.row.count.to_string(),
                    of.row.active.to_string(),
                    size(of.row.size),
                    size(of.row.reclaimable),
                ]);
            }
            table
        },
    )?;
    Ok(answers.end())
}
