//! `berth ps`

use std::process::ExitCode;

use anyhow::Result;

use super::super::output::{self, Format};
use super::{Asking, ago};
use crate::machine::Berth;

/// List the containers of many machines
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without a selection: those of all machines that run. Exit code 5 if an engine did not answer.\n\n\
                  Examples:\n  berth ps\n  berth ps 'web*' -a\n  berth ps -l role=db --format '{{.Machine}}\\t{{.Name}}'\n  \
                  berth ps --json"
)]
pub struct Args {
    #[command(flatten)]
    asking: Asking,

    /// Those that do not run too
    #[arg(short = 'a', long)]
    stopped: bool,

    #[command(flatten)]
    format: Format,
}

/// Lists them.
pub async fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    let names = args.asking.machines(berth).await?;
    let asked = args.asking.ask(berth, &names, async |engine| {
        engine.containers(args.stopped).await
    });
    let answers = asked.await;
    args.format.print(
        &answers.rows,
        |of| of.row.name.clone(),
        |rows| {
            let mut table =
                output::table(["MACHINE", "NAME", "IMAGE", "CREATED", "STATUS", "PORTS"]);
            for of in rows {
                table.add_row([
                    of.machine.clone(),
                    of.row.name.clone(),
                    of.row.image.clone(),
                    ago(of.row.created),
                    of.row.status.clone(),
                    of.row.ports.join(", "),
                ]);
            }
            table
        },
    )?;
    Ok(answers.end())
}
