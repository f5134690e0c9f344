//! `berth context`

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde::Serialize;

use super::output::{self, Format};
use crate::machine::{Berth, Error};

/// Look at berth's docker contexts, or write them anew
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: ContextCommand,
}

#[derive(Debug, Subcommand)]
enum ContextCommand {
    /// List the docker contexts that are berth's
    Ls {
        #[command(flatten)]
        format: Format,
    },
    /// Write the contexts of all machines anew and remove those whose machine is gone
    Sync,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    host: String,
    current: bool,
    machine_exists: bool,
}

/// Carries the subcommand out.
pub fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    match &args.command {
        ContextCommand::Ls { format } => list(berth, format)?,
        ContextCommand::Sync => sync(berth)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(berth: &Berth, format: &Format) -> Result<()> {
    let current = berth.docker.current().map_err(Error::from)?;
    let contexts = berth.docker.list().map_err(Error::from)?;
    let listed: Vec<Listed> = contexts
        .into_iter()
        .filter(|context| context.home.as_deref() == Some(berth.home.data()))
        .map(|context| Listed {
            current: current.as_deref() == Some(context.name.as_str()),
            machine_exists: berth
                .record(&context.name)
                .is_ok_and(|r| Some(r.id) == context.machine),
            name: context.name,
            host: context.host,
        })
        .collect();
    format.print(
        &listed,
        |context| context.name.clone(),
        |contexts| {
            let mut table = output::table(["NAME", "CURRENT", "HOST", "MACHINE"]);
            for context in contexts {
                table.add_row([
                    context.name.as_str(),
                    if context.current { "*" } else { "" },
                    &context.host,
                    if context.machine_exists { "" } else { "gone" },
                ]);
            }
            table
        },
    )
}

fn sync(berth: &Berth) -> Result<()> {
    for context in berth.docker.list().map_err(Error::from)? {
        let Some(machine) = context
            .machine
            .filter(|_| context.home.as_deref() == Some(berth.home.data()))
        else {
            continue;
        };
        // A record that cannot be read is no proof that the machine is gone.
        if !berth.home.machine(&context.name).path().exists() {
            berth
                .docker
                .remove(&context.name, machine)
                .map_err(Error::from)?;
            output::line(&format!("removed {}", context.name))?;
        }
    }
    for name in berth.home.machine_names()? {
        let record = berth.record(&name)?;
        if record.installed.is_some() {
            let socket = berth.home.machine(&name).engine_socket();
            berth
                .docker
                .write(&name, record.id, berth.home.data(), &socket)
                .map_err(Error::from)?;
            output::line(&format!("wrote {name}"))?;
        }
    }
    Ok(())
}
