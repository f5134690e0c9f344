//! `berth ssh-config`

use std::process::ExitCode;

use anyhow::Result;

use super::output;
use crate::context::ssh_config;
use crate::fleet;
use crate::machine::{Berth, Error};

/// Print ssh's configuration for machines, or have `ssh NAME.berth` work everywhere
#[derive(Debug, clap::Args)]
#[command(
    after_help = "With --install, one Include line goes to the top of ~/.ssh/config; then ssh, scp, rsync and editors\n\
                        reach every machine as NAME.berth.\n\nExamples:\n  berth ssh-config --install\n  ssh web1.berth"
)]
pub struct Args {
    /// The machine's name [default: all]
    #[arg(value_name = "NAME", add = clap_complete::engine::ArgValueCandidates::new(fleet::candidates))]
    name: Option<String>,

    /// Put the Include line into ~/.ssh/config
    #[arg(long, conflicts_with = "name")]
    install: bool,
}

/// Prints or installs it.
pub fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    if args.install {
        let added = ssh_config::install(&berth.home).map_err(Error::from)?;
        eprintln!(
            "{}",
            if added {
                "~/.ssh/config now includes berth's machines"
            } else {
                "~/.ssh/config includes berth's machines already"
            }
        );
        return Ok(ExitCode::SUCCESS);
    }
    let names = match &args.name {
        Some(name) => vec![berth.record(name)?.name],
        None => berth.home.machine_names()?,
    };
    if args.name.is_none() {
        output::line(&format!(
            "# In ~/.ssh/config: {}",
            ssh_config::include_line(&berth.home)
        ))?;
    }
    for name in names {
        // A machine that never booted has none.
        if let Ok(block) = std::fs::read_to_string(berth.home.machine(&name).ssh_config()) {
            output::line(block.trim_end())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
