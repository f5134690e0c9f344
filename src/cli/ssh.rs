//! `berth ssh`

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use berth_driver_api::{State, process};
use berth_provision::ssh::quote;

use super::error::NotReady;
use crate::context::ssh_config;
use crate::fleet;
use crate::machine::{Berth, Error, Opened};

/// Open a shell in a machine, or run a command there; the command's exit code is passed on
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Several words after -- reach the command as they are; a single one is read by the remote shell.\n\n\
                        Examples:\n  berth ssh web1\n  berth ssh web1 -- uname -a\n  berth ssh web1 -- 'ls /var/log | wc -l'\n  \
                        tar c src | berth ssh web1 -- tar x -C /srv"
)]
pub struct Args {
    /// The machine's name
    #[arg(value_name = "NAME", add = clap_complete::engine::ArgValueCandidates::new(fleet::candidates))]
    name: String,

    /// The command
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Becomes ssh.
pub async fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    let opened = reachable(berth, &args.name).await?;
    let mut command = ssh_command(&opened)?;
    command.arg(ssh_config::alias(&args.name));
    match args.command.as_slice() {
        [] => {}
        [line] => {
            command.arg("--").arg(line);
        }
        words => {
            let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
            command.arg("--").arg(quoted.join(" "));
        }
    }
    // exec returns only if it fails.
    Err(command.exec()).context("ssh could not be started")
}

/// The machine, if it can be expected to answer.
pub async fn reachable(berth: &Berth, name: &str) -> Result<Opened> {
    let opened = berth.open(name).await?;
    let state = opened
        .driver
        .state(&opened.machine)
        .await
        .map_err(Error::driver(name))?;
    let name = name.to_owned();
    if state != State::Running {
        return Err(Error::NotRunning { name, state }.into());
    }
    // A machine that is being created can be looked into as soon as it was once connected to.
    if !opened.folder.ssh_config().exists() {
        let operation = "create".to_owned();
        return Err(Error::Unfinished { name, operation }.into());
    }
    Ok(opened)
}

/// The system's ssh with the machine's own configuration and nothing of the user's.
pub fn ssh_command(opened: &Opened) -> Result<Command> {
    let program = process::find("ssh").ok_or_else(|| NotReady("ssh is not installed".into()))?;
    let mut command = Command::new(program);
    command.arg("-F").arg(opened.folder.ssh_config());
    Ok(command)
}
