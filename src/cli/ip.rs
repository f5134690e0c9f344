//! `berth ip`

use std::process::ExitCode;

use anyhow::Result;

use super::output;
use crate::fleet::{Selection, select};
use crate::machine::Berth;

/// Print a machine's address
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The address at which other machines reach it, if it shares a network with them (-o network=shared). \
                  Otherwise that at which this computer does: with user networking loopback, and `berth status` shows \
                  the ports."
)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
}

/// Prints it.
pub async fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    super::require_selection(&args.selection)?;
    let names = select(berth, &args.selection, super::ASK_DEADLINE).await?;
    let mut lines = Vec::new();
    for name in names {
        let address = berth.open(&name).await?.address().await?;
        lines.push(address.own.unwrap_or(address.host));
    }
    output::lines(lines)?;
    Ok(ExitCode::SUCCESS)
}
