//! `berth use`

use std::process::ExitCode;

use anyhow::Result;

use crate::context::docker;
use crate::fleet;
use crate::machine::{Berth, Error, Record, is_podman};

/// Point docker (and docker compose, and podman at a podman machine) at a machine; `-` gives docker its own default back
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  berth use web1\n  berth use -")]
pub struct Args {
    /// The machine's name, or `-`
    #[arg(value_name = "NAME", allow_hyphen_values = true, add = clap_complete::engine::ArgValueCandidates::new(fleet::candidates))]
    name: String,
}

/// Chooses docker's context.
pub fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    if args.name == "-" {
        berth.docker.set_current(None).map_err(Error::from)?;
        eprintln!("docker uses its default context again");
        return Ok(ExitCode::SUCCESS);
    }
    let record = berth.record(&args.name)?;
    point_at(berth, &record)?;
    eprintln!("docker uses machine {}", record.name);
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
    berth
        .docker
        .set_current(Some(&record.name))
        .map_err(Error::from)?;
    if let Some(variable) = docker::overriding_variable() {
        eprintln!("warning: {variable} is set and wins over the context: unset {variable}");
    }
    Ok(())
}
