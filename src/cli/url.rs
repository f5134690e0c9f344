//! `berth url`

use std::process::ExitCode;

use anyhow::Result;

use super::output;
use crate::fleet::{Selection, select};
use crate::machine::{Berth, Error, tls};

/// Print how a client reaches a machine's engine
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  docker -H \"$(berth url web1)\" ps")]
pub struct Args {
    #[command(flatten)]
    selection: Selection,

    /// The TLS endpoint instead of the unix socket; docker then needs the certificates of `berth env --tls`
    #[arg(long)]
    tls: bool,
}

/// Prints it.
pub async fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    super::require_selection(&args.selection)?;
    let names = select(berth, &args.selection, super::ASK_DEADLINE).await?;
    let mut lines = Vec::new();
    for name in &names {
        let record = berth.record(name)?;
        if record.installed.is_none() {
            return Err(Error::NoEngine(record.name).into());
        }
        if args.tls {
            lines.push(tls::wish(&record)?.url());
            tls::refresh(berth, &record).await?;
            continue;
        }
        let socket = berth.home.machine(name).engine_socket();
        lines.push(format!("unix://{}", socket.display()));
    }
    output::lines(lines)?;
    Ok(ExitCode::SUCCESS)
}
