//! `berth provision`

use std::process::ExitCode;

use anyhow::Result;

use super::each::each;
use super::output;
use super::progress::{Screen, print_timings};
use super::settings::SettingsArgs;
use crate::fleet::{Selection, select};
use crate::machine::{self, Berth, EngineChange};

/// Bring machines' engines to what was asked for; what is done already is left alone
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  berth provision web1\n  berth provision web1 --engine docker@28.5 --channel upstream\n  \
                        berth provision -l site=ship --channel bundle:./docker.tar"
)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,

    /// Ask for another engine from now on: docker, docker@VERSION, docker@latest, podman or none
    #[arg(long, value_name = "KIND[@VERSION]")]
    engine: Option<String>,

    /// Take it from another channel from now on: distro, upstream or bundle:PATH; an engine that came by another one
    /// is replaced
    #[arg(long)]
    channel: Option<String>,
    #[command(flatten)]
    settings: SettingsArgs,

    /// Show where the time went
    #[arg(long)]
    timings: bool,
}

/// Provisions them.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    super::require_selection(&args.selection)?;
    let names = select(berth, &args.selection, super::ASK_DEADLINE).await?;
    let change = EngineChange {
        engine: args.engine.clone(),
        channel: args.channel.clone(),
    };
    let settings = &args.settings.settings()?;
    let (done, code) = each(&names, screen, async |name: String, task| {
        machine::amend_settings(berth, &name, settings, &*task).await?;
        machine::provision(berth, &name, &change, &*task).await?;
        Ok(task.finish())
    })
    .await;
    for (name, timings) in done.iter().filter(|_| args.timings) {
        print_timings(name, timings);
    }
    output::lines(done.into_iter().map(|(name, _)| name))?;
    Ok(code)
}
