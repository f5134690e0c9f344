//! `berth driver schema`

use std::process::ExitCode;

use anyhow::Result;
use berth_driver_api::plugin;

use crate::cli::output;

/// Prints it.
pub fn run() -> Result<ExitCode> {
    output::line(&serde_json::to_string_pretty(&plugin::schema())?)?;
    Ok(ExitCode::SUCCESS)
}
