//! `berth fleet`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Subcommand, ValueHint};

use super::error::Usage;
use super::output;
use crate::fleet::file::{export, schema};
use crate::fleet::{Selection, fold, pick};
use crate::machine::{Berth, Record};
use crate::store;

/// The name of a fleet that has none.
const UNNAMED: &str = "fleet";

/// Write a fleet file for the machines that there are, or its JSON Schema
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  berth fleet export > fleet.toml && berth plan\n  berth fleet export -l env=prod --fleet prod -o prod.toml\n  \
                  berth fleet schema > fleet.schema.json"
)]
pub struct Args {
    #[command(subcommand)]
    command: FleetCommand,
}

#[derive(Debug, Subcommand)]
enum FleetCommand {
    /// Write the fleet file that declares machines as they are; all of them if none are named
    #[command(
        after_help = "It has the values of the engines' variables in it, which may be secret: with -o it is a file for your eyes \
                      only.\n\nExamples:\n  berth fleet export > fleet.toml && berth plan\n  \
                      berth fleet export -l env=prod --fleet prod -o prod.toml"
    )]
    Export {
        #[command(flatten)]
        selection: Selection,

        /// The fleet's name [default: the machines' own, or fleet]
        #[arg(long, value_name = "NAME")]
        fleet: Option<String>,

        /// The file to write, instead of standard output
        #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
    /// Print the fleet file's JSON Schema
    Schema,
}

/// Carries the subcommand out.
pub async fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    match &args.command {
        FleetCommand::Schema => output::line(&serde_json::to_string_pretty(&schema())?)?,
        FleetCommand::Export {
            selection,
            fleet,
            output,
        } => {
            let names = pick(berth, selection, super::ASK_DEADLINE).await?;
            if names.is_empty() && !selection.is_empty() {
                return Err(Usage("no machine matches the selection".into()).into());
            }
            let records = names.iter().map(|name| berth.record(name));
            let records = records.collect::<Result<Vec<_>, _>>()?;
            let own = fleet_of(&records)?;
            let name = match (fleet, &own) {
                (Some(name), Some(own)) if name != own => {
                    return Err(
                        Usage(format!("the machines are of fleet {own}, not of {name}")).into(),
                    );
                }
                (Some(name), _) => name.clone(),
                (None, own) => own.clone().unwrap_or_else(|| UNNAMED.to_owned()),
            };
            let (text, secrets) = export(&name, &records);
            match output {
                Some(path) => store::write_private(path, text.as_bytes())?,
                None => output::line(text.trim_end())?,
            }
            if output.is_none() && !secrets.is_empty() {
                let names: Vec<&str> = secrets.iter().map(String::as_str).collect();
                eprintln!(
                    "berth: the values of the engines' variables of {} are in it",
                    fold(&names)
                );
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The fleet that the machines are of, if any is of one.
fn fleet_of(records: &[Record]) -> Result<Option<String>> {
    let mut fleets: Vec<&String> = records
        .iter()
        .filter_map(|record| Some(&record.member.as_ref()?.fleet))
        .collect();
    fleets.sort();
    fleets.dedup();
    match fleets.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some((*one).clone())),
        [one, other, ..] => Err(Usage(format!(
            "the machines are of several fleets, such as {one} and {other}: select those of one"
        ))
        .into()),
    }
}
