//! `berth inspect`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use berth_driver_api::{Login, State};
use serde::Serialize;

use super::output;
use crate::fleet::{Selection, select};
use crate::machine::{Berth, Record, Row, ask, drift};
use crate::supervisor::Status;

/// Print everything that is known of machines, as JSON
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  berth inspect web1\n  berth inspect web1 --format '{{.SSH.Port}}'"
)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,

    /// Print each by a Go-style template
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,

    /// How long a machine may take to answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    timeout: f64,
}

/// The whole of a machine. Secrets are named by their files only.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    row: Row,
    record: Option<Record>,
    /// What the machine lacks of the engine's settings; null if it has none of its own or was not reached.
    drift: Option<Vec<String>>,
    supervisor: Option<Status>,
    folder: std::path::PathBuf,
    /// The private key that lets in; null where the SSH agent does.
    key: Option<std::path::PathBuf>,
    known_hosts: std::path::PathBuf,
}

/// Prints them.
pub async fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    super::require_selection(&args.selection)?;
    let deadline = Duration::try_from_secs_f64(args.timeout)?;
    let mut wholes = Vec::new();
    for name in select(berth, &args.selection, deadline).await? {
        let folder = berth.home.machine(&name);
        let row = ask(berth, &name, deadline).await;
        let mut record = berth.record(&name).ok();
        let drift = match &record {
            Some(record) if row.state == State::Running => drift(berth, record, deadline).await,
            _ => None,
        };
        let login = record.as_ref().and_then(|record| record.login.clone());
        if let Some(record) = &mut record {
            record.settings = record.settings.shown();
        }
        wholes.push(Whole {
            row,
            drift,
            record,
            supervisor: Status::read(&folder),
            folder: folder.path().to_owned(),
            key: match login {
                None => Some(folder.key()),
                Some(Login::File(path)) => Some(path),
                Some(Login::Agent) => None,
            },
            known_hosts: folder.known_hosts(),
        });
    }
    match &args.format {
        Some(template) => output::by_template(template, &wholes)?,
        None => output::line(&serde_json::to_string_pretty(&wholes)?)?,
    }
    Ok(ExitCode::SUCCESS)
}
