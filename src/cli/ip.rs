//! `berth ip`

use std::process::ExitCode;

use anyhow::Result;

use super::output;
use crate::fleet::{Selection, select};
use crate::machine::Berth;

/// Print the address that a machine is reached at
#[derive(Debug, clap::Args)]
#[command(
    after_help = "With user networking that is this computer's loopback; `berth status` shows the ports."
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
        lines.push(berth.open(&name).await?.address().await?.host);
    }
    output::lines(lines)?;
    Ok(ExitCode::SUCCESS)
}
