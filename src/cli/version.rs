//! `berth version`

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::output;

/// Print berth's version
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints it.
pub fn run(args: &Args) -> Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    if args.json {
        let system =
            json!({"version": version, "os": std::env::consts::OS, "arch": std::env::consts::ARCH});
        output::line(&serde_json::to_string_pretty(&system)?)?;
    } else {
        output::line(&format!("berth {version}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
