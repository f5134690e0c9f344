//! `berth completions`

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap_complete::env::Shells;

use super::error::Usage;
use super::output;

/// Print the script that makes a shell complete commands, options and machine names
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  source <(berth completions bash)\n  berth completions fish > ~/.config/fish/completions/berth.fish"
)]
pub struct Args {
    /// bash, zsh, fish, elvish or powershell
    shell: String,
}

/// Prints it.
pub fn run(args: &Args) -> Result<ExitCode> {
    let shells = Shells::builtins();
    let completer = shells.completer(&args.shell).ok_or_else(|| {
        let known: Vec<&str> = shells.names().collect();
        Usage(format!(
            "{:?} is no shell that is known: {}",
            args.shell,
            known.join(", ")
        ))
    })?;
    let program = std::env::current_exe().context("berth's own program is not found")?;
    let mut script = Vec::new();
    completer.write_registration(
        "COMPLETE",
        "berth",
        "berth",
        &program.to_string_lossy(),
        &mut script,
    )?;
    output::line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
