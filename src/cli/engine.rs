//! `berth engine`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use berth_provision::bundle;
use berth_provision::versions::{InstalledPackage, Offer, Versions};
use clap::{Subcommand, ValueHint};
use serde::Serialize;

use super::error::Usage;
use super::output;
use super::progress::Screen;
use crate::fleet;
use crate::machine::{self, Berth, EngineChange};

/// Versions shown to people; JSON has them all.
const SHOWN: usize = 5;

/// Look at the versions of engines, make bundles for machines without a network
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  berth engine versions web1\n  berth engine bundle --from web1 -o docker.tar\n  \
                        berth engine bundle --from https://download.docker.com/linux/static/stable/x86_64/docker-28.5.2.tgz \\\n    \
                        --digest sha256:… -o docker-28.5.2.tgz\n  \
                        berth create far1 --channel bundle:docker.tar"
)]
pub struct Args {
    #[command(subcommand)]
    command: EngineCommand,
}

#[derive(Debug, Subcommand)]
enum EngineCommand {
    /// Tell which engine a running machine has, and which versions its channels offer now
    Versions {
        /// The machine's name
        #[arg(value_name = "NAME", add = clap_complete::engine::ArgValueCandidates::new(fleet::candidates))]
        name: String,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write an engine's packages, with what a bare machine lacks for them, into one file
    Bundle {
        /// A running machine whose package manager downloads them, and whose own engine stays as it is; or the http(s)
        /// address of a bundle or of a static release, such as docker-28.5.2.tgz
        #[arg(long, value_name = "MACHINE|URL", add = clap_complete::engine::ArgValueCandidates::new(fleet::candidates))]
        from: String,

        /// The engine: docker, docker@VERSION or podman [default: the machine's]
        #[arg(long, value_name = "KIND[@VERSION]")]
        engine: Option<String>,

        /// Where it comes from: distro or upstream [default: the machine's]
        #[arg(long)]
        channel: Option<String>,

        /// The digest that what is at the address must have
        #[arg(long, value_name = "sha256:HEX", conflicts_with_all = ["engine", "channel"])]
        digest: Option<String>,

        /// The file to write, a tar archive
        #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: PathBuf,
    },
}

/// What `versions --json` prints.
#[derive(Serialize)]
struct Told<'a> {
    name: &'a str,
    installed: &'a [InstalledPackage],
    offers: &'a [Offer],
}

/// Carries the subcommand out.
pub async fn run(berth: &Berth, args: Args, screen: &Screen) -> Result<ExitCode> {
    match args.command {
        EngineCommand::Versions { name, json } => {
            let task = screen.task(&name);
            let versions = machine::engine_versions(berth, &name, &*task).await?;
            task.finish();
            screen.clear();
            if json {
                let told = Told {
                    name: &name,
                    installed: &versions.installed,
                    offers: &versions.offers,
                };
                output::line(&serde_json::to_string_pretty(&told)?)?;
            } else {
                output::line(&table(&versions).trim_fmt())?;
            }
        }
        EngineCommand::Bundle {
            from,
            digest,
            output: to,
            ..
        } if from.contains("://") => {
            let Some(digest) = digest else {
                return Err(Usage(format!(
                    "say with --digest what {from} must be: whoever answers there is not trusted"
                ))
                .into());
            };
            let task = screen.task("bundle");
            bundle::from_url(&from, &digest, &to, &*task).await?;
            task.finish();
            screen.clear();
            output::line(&to.display().to_string())?;
        }
        EngineCommand::Bundle {
            from,
            engine,
            channel,
            output: to,
            ..
        } => {
            let change = EngineChange { engine, channel };
            let task = screen.task(&from);
            let manifest = machine::bundle_engine(berth, &from, &change, &to, &*task).await?;
            task.finish();
            screen.clear();
            for package in &manifest.packages {
                eprintln!("{} {}", package.package, package.version);
            }
            output::line(&to.display().to_string())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(versions: &Versions) -> comfy_table::Table {
    let mut table = output::table(["ENGINE", "CHANNEL", "INSTALLED", "OFFERED"]);
    let mut rows: Vec<[String; 4]> = Vec::new();
    for offer in &versions.offers {
        let installed = versions
            .installed
            .iter()
            .find(|package| (package.engine, package.channel) == (offer.engine, offer.channel));
        let mut offered: Vec<&str> = offer.versions.iter().map(String::as_str).collect();
        let more = offered.len().saturating_sub(SHOWN);
        offered.truncate(SHOWN);
        let mut words = offered.join(", ");
        if more > 0 {
            words += &format!(" and {more} more");
        }
        if let Some(error) = &offer.error {
            // The cause comes last.
            words = error.lines().last().unwrap_or_default().to_owned();
        }
        rows.push([
            offer.engine.to_string(),
            offer.channel.to_owned(),
            installed.map(shown).unwrap_or_default(),
            words,
        ]);
    }
    for package in &versions.installed {
        if package.channel == "bundle" {
            rows.push([
                package.engine.to_string(),
                package.channel.to_owned(),
                shown(package),
                String::new(),
            ]);
        }
    }
    table.add_rows(rows);
    table
}

fn shown(package: &InstalledPackage) -> String {
    match package.held {
        true => format!("{} (held)", package.version),
        false => package.version.clone(),
    }
}
