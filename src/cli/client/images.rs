//! `berth images`

use std::process::ExitCode;

use anyhow::Result;

use super::super::output::{self, Format};
use super::{Asking, ago, size};
use crate::machine::Berth;

/// List the container images of many machines' engines (`berth image` is about guests' disks)
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without a selection: those of all machines that run. Exit code 5 if an engine did not answer.\n\n\
                  Examples:\n  berth images\n  berth images 'web*' --json"
)]
pub struct Args {
    #[command(flatten)]
    asking: Asking,

    #[command(flatten)]
    format: Format,
}

/// Lists them.
pub async fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    let names = args.asking.machines(berth).await?;
    let asked = args
        .asking
        .ask(berth, &names, async |engine| engine.images().await);
    let answers = asked.await;
    args.format.print(
        &answers.rows,
        |of| of.row.name.clone().unwrap_or_else(|| of.row.id.clone()),
        |rows| {
            let mut table = output::table(["MACHINE", "IMAGE", "ID", "CREATED", "SIZE"]);
            for of in rows {
                table.add_row([
                    of.machine.clone(),
                    of.row.name.clone().unwrap_or_else(|| "<none>".into()),
                    of.row.id.clone(),
                    ago(of.row.created),
                    size(u64::try_from(of.row.size).unwrap_or(0)),
                ]);
            }
            table
        },
    )?;
    Ok(answers.end())
}
