//! `berth provision`

use std::process::ExitCode;

use anyhow::Result;

use super::each::each;
use super::output;
use super::progress::{Screen, print_timings};
use super::settings::SettingsArgs;
use crate::fleet::{Selection, select};
use crate::machine::{self, Berth, EngineWish};

/// Bring machines' engines to what was asked for; what is done already is left alone
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,

    /// Ask for another engine from now on: docker, docker@VERSION or none
    #[arg(long, value_name = "KIND[@VERSION]")]
    engine: Option<String>,

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
    let settings = &args.settings.settings()?;
    let (done, code) = each(&names, screen, async |name: String, task| {
        let engine = args
            .engine
            .as_deref()
            .map(|text| EngineWish::parse(text, "distro"));
        machine::amend_settings(berth, &name, settings, &*task).await?;
        machine::provision(berth, &name, engine, &*task).await?;
        Ok(task.finish())
    })
    .await;
    for (name, timings) in done.iter().filter(|_| args.timings) {
        print_timings(name, timings);
    }
    output::lines(done.into_iter().map(|(name, _)| name))?;
    Ok(code)
}
