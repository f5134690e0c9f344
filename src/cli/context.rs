//! `berth context`

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde::Serialize;

use super::output::{self, Format};
use crate::fleet::swarm::Swarm;
use crate::machine::{Berth, Error};

/// Look at berth's docker contexts and podman connections, or write them anew
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: ContextCommand,
}

#[derive(Debug, Subcommand)]
enum ContextCommand {
    /// List the docker contexts and podman connections that are berth's
    Ls {
        #[command(flatten)]
        format: Format,
    },
    /// Write those of all machines anew and remove those whose machine is gone
    Sync,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    client: &'static str,
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
    let mut listed = docker(berth)?;
    listed.extend(podman(berth)?);
    format.print(
        &listed,
        |context| context.name.clone(),
        |contexts| {
            let mut table = output::table(["NAME", "CLIENT", "CURRENT", "HOST", "MACHINE"]);
            for context in contexts {
                table.add_row([
                    context.name.as_str(),
                    context.client,
                    if context.current { "*" } else { "" },
                    &context.host,
                    if context.machine_exists { "" } else { "gone" },
                ]);
            }
            table
        },
    )
}

fn docker(berth: &Berth) -> Result<Vec<Listed>> {
    let current = berth.docker.current().map_err(Error::from)?;
    let contexts = berth.docker.list().map_err(Error::from)?;
    let ours = contexts
        .into_iter()
        .filter(|context| context.home.as_deref() == Some(berth.home.data()));
    let listed = ours.map(|context| Listed {
        client: "docker",
        current: current.as_deref() == Some(context.name.as_str()),
        machine_exists: berth
            .record(&context.name)
            .is_ok_and(|r| Some(r.id) == context.machine)
            || is_swarm(berth, &context.name),
        name: context.name,
        host: context.host,
    });
    Ok(listed.collect())
}

/// True if there is a swarm of that name, or something that may be one: what cannot be read is no proof that it is gone.
fn is_swarm(berth: &Berth, name: &str) -> bool {
    !matches!(Swarm::find(berth, name), Ok(None))
}

fn podman(berth: &Berth) -> Result<Vec<Listed>> {
    let connections = berth.podman_connections()?.into_iter();
    let listed = connections.map(|connection| Listed {
        client: "podman",
        current: connection.default,
        machine_exists: berth.record(&connection.name).is_ok(),
        name: connection.name,
        host: connection.uri,
    });
    Ok(listed.collect())
}

fn sync(berth: &Berth) -> Result<()> {
    let gone = |name: &str| {
        // A record that cannot be read is no proof that the machine is gone.
        !berth.home.machine(name).path().exists()
    };
    for context in berth.docker.list().map_err(Error::from)? {
        let Some(machine) = context
            .machine
            .filter(|_| context.home.as_deref() == Some(berth.home.data()))
        else {
            continue;
        };
        if gone(&context.name) && !is_swarm(berth, &context.name) {
            berth
                .docker
                .remove(&context.name, machine)
                .map_err(Error::from)?;
            output::line(&format!("removed {}", context.name))?;
        }
    }
    for connection in berth.podman_connections()? {
        if gone(&connection.name) {
            let socket = berth.home.machine(&connection.name).engine_socket();
            let removed = berth.podman.remove(&connection.name, &socket);
            removed.map_err(Error::from)?;
            output::line(&format!("removed {}", connection.name))?;
        }
    }
    for name in berth.home.machine_names()? {
        let record = berth.record(&name)?;
        if record.installed.is_some() {
            berth.write_contexts(&record)?;
            output::line(&format!("wrote {name}"))?;
        }
    }
    Ok(())
}
