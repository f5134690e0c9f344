//! `berth use`

use std::process::ExitCode;

use anyhow::Result;

use crate::context::docker;
use crate::fleet;
use crate::fleet::swarm::{Swarm, status};
use crate::machine::{Berth, Error, Record, is_podman};

/// Point docker (and docker compose, and podman at a podman machine) at a machine or a swarm; `-` gives docker its own
/// default back
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  berth use web1\n  berth use -")]
pub struct Args {
    /// The machine's or the swarm's name, or `-`
    #[arg(value_name = "NAME", allow_hyphen_values = true, add = clap_complete::engine::ArgValueCandidates::new(fleet::candidates))]
    name: String,
}

/// Chooses docker's context.
pub async fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    if args.name == "-" {
        berth.docker.set_current(None).map_err(Error::from)?;
        eprintln!("docker uses its default context again");
        return Ok(ExitCode::SUCCESS);
    }
    if !berth.home.has_traces(&args.name) && Swarm::find(berth, &args.name)?.is_some() {
        return point_at_swarm(berth, &args.name).await;
    }
    let record = berth.record(&args.name)?;
    point_at(berth, &record)?;
    eprintln!("docker uses machine {}", record.name);
    Ok(ExitCode::SUCCESS)
}

/// Makes the swarm's context docker's current one, once it leads to a manager that answers.
async fn point_at_swarm(berth: &Berth, name: &str) -> Result<ExitCode> {
    let status = status(berth, name).await?;
    let Some(manager) = status.manager else {
        let detail = status.error.unwrap_or_default();
        return Err(anyhow::anyhow!("docker's context is as it was: {detail}"));
    };
    choose(berth, name)?;
    eprintln!("docker uses swarm {name}, by {manager}");
    Ok(ExitCode::SUCCESS)
}

/// Makes the machine's context docker's current one, written anew if it was lost.
pub fn point_at(berth: &Berth, record: &Record) -> Result<()> {
    if record.installed.is_none() {
        return Err(Error::NoEngine(record.name.clone()).into());
    }
    let found = berth.docker.find(&record.name).map_err(Error::from)?;
    let host = berth.endpoint(record)?.host;
    let right =
        found.is_some_and(|context| context.machine == Some(record.id) && context.host == host);
    // Writing looks after podman's connection as well.
    if !right || is_podman(record) {
        berth.write_contexts(record)?;
    }
    if is_podman(record) {
        let chosen = berth.podman.set_default(&record.name);
        chosen.map_err(Error::from)?;
    }
    choose(berth, &record.name)
}

fn choose(berth: &Berth, context: &str) -> Result<()> {
    let chosen = berth.docker.set_current(Some(context));
    chosen.map_err(Error::from)?;
    if let Some(variable) = docker::overriding_variable() {
        eprintln!("warning: {variable} is set and wins over the context: unset {variable}");
    }
    Ok(())
}
