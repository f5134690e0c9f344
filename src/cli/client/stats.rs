//! `berth stats`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use berth_provision::engine::Stats;
use comfy_table::Table;

use super::super::output::{self, Format};
use super::{Asking, Of, size};
use crate::machine::Berth;

/// Between two tables that follow each other; a sample takes the engines a second or two besides.
const PAUSE: Duration = Duration::from_secs(2);

/// Tell what the running containers of many machines use
#[derive(Debug, clap::Args)]
#[command(
    after_help = "CPU is of one CPU: two that are busy are 200 %. Without a selection: all machines that run. Exit code 5 if an \
                        engine did not answer.\n\n\
                        Examples:\n  berth stats\n  berth stats -f 'web*'\n  berth stats --json"
)]
pub struct Args {
    #[command(flatten)]
    asking: Asking,

    /// Again and again, until Ctrl-C
    #[arg(short, long)]
    follow: bool,

    #[command(flatten)]
    format: Format,
}

/// Tells it.
pub async fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    loop {
        // Machines come and go while they are followed.
        let names = args.asking.machines(berth).await?;
        let asked = args
            .asking
            .ask(berth, &names, async |engine| engine.stats().await);
        let answers = asked.await;
        args.format
            .print(&answers.rows, |of| of.row.name.clone(), table)?;
        let code = answers.end();
        if !args.follow {
            return Ok(code);
        }
        // Engines measure over a second: between two tables there is nothing to hear.
        tokio::time::sleep(PAUSE).await;
    }
}

fn table(rows: &[Of<Stats>]) -> Table {
    let mut table = output::table([
        "MACHINE", "NAME", "CPU", "MEMORY", "OF", "IN", "OUT", "PIDS",
    ]);
    for Of { machine, row } in rows {
        table.add_row([
            machine.clone(),
            row.name.clone(),
            format!("{:.1} %", row.cpu),
            size(row.memory),
            size(row.memory_limit),
            size(row.received),
            size(row.sent),
            row.pids.to_string(),
        ]);
    }
    table
}
