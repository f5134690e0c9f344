//! `berth driver`

mod adopt;
mod check;
mod schema;

use std::process::ExitCode;

use anyhow::Result;
use berth_driver_api::{OptionKind, OptionSpec, Probe};
use clap::Subcommand;
use futures_util::future::join_all;
use serde::Serialize;

use crate::cli::output::{self, Format};
use crate::cli::progress::Screen;
use crate::machine::Berth;

/// Look at the drivers that make machines
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: DriverCommand,
}

#[derive(Debug, Subcommand)]
enum DriverCommand {
    /// List drivers, whether they can be used here, and their options
    Ls {
        #[command(flatten)]
        format: Format,
    },
    /// Try a driver out: whether it keeps what every driver promises, on two machines of its own
    Check(check::Args),
    Adopt(adopt::Args),
    /// Print the JSON Schema of the messages that berth and a driver plugin exchange
    Schema,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    description: String,
    usable: bool,
    probe: Option<Probe>,
    options: Vec<OptionSpec>,
    error: Option<String>,
}

/// Carries the subcommand out.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    match &args.command {
        DriverCommand::Ls { format } => list(berth, format).await,
        DriverCommand::Check(args) => check::run(berth, args, screen).await,
        DriverCommand::Adopt(args) => adopt::run(berth, args, screen).await,
        DriverCommand::Schema => schema::run(),
    }
}

async fn list(berth: &Berth, format: &Format) -> Result<ExitCode> {
    let names = berth.drivers.names();
    let drivers = join_all(names.iter().map(|name| look(berth, name))).await;
    format.print(
        &drivers,
        |driver| driver.name.clone(),
        |drivers| {
            let mut table = output::table(["NAME", "USABLE", "OPTION", "VALUES", "DESCRIPTION"]);
            for driver in drivers {
                let why = driver
                    .error
                    .clone()
                    .unwrap_or_else(|| driver.description.clone());
                let usable = if driver.usable { "yes" } else { "no" };
                table.add_row([&driver.name, usable, "", "", &why]);
                for option in &driver.options {
                    let values = values(&option.kind);
                    let help = match option.default.as_str() {
                        "" => option.help.clone(),
                        default => format!("{} [default: {default}]", option.help),
                    };
                    table.add_row(["", "", &option.name, &values, &help]);
                }
            }
            table
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

/// What an option takes, in short.
pub fn values(kind: &OptionKind) -> String {
    match kind {
        OptionKind::Choice(words) => words.join("|"),
        OptionKind::Text => "text".into(),
        OptionKind::Integer => "number".into(),
        OptionKind::Boolean => "true|false".into(),
    }
}

async fn look(berth: &Berth, name: &str) -> Listed {
    let mut listed = Listed {
        name: name.to_owned(),
        description: String::new(),
        usable: false,
        probe: None,
        options: Vec::new(),
        error: None,
    };
    let driver = match berth.drivers.get(name).await {
        Ok(driver) => driver,
        Err(error) => {
            listed.error = Some(error.to_string());
            return listed;
        }
    };
    listed.description = driver.info().description.clone();
    listed.options = driver.info().options.clone();
    match driver.probe().await {
        Ok(probe) => {
            listed.usable = probe.usable;
            listed.probe = Some(probe);
        }
        Err(error) => listed.error = Some(error.to_string()),
    }
    listed
}
