//! Which machines a command is about.

use std::time::Duration;

use clap::Args;

use crate::machine::{Berth, Error, Record, Result, ask_all};

/// What a machine can be found in; the words of [`berth_driver_api::State`].
const STATES: [&str; 10] = [
    "creating",
    "starting",
    "running",
    "paused",
    "suspended",
    "stopping",
    "stopped",
    "error",
    "unreachable",
    "missing",
];

/// Names, or selectors that pick machines by what they are.
#[derive(Debug, Clone, Default, Args)]
pub struct Selection {
    /// Machines, by name
    #[arg(value_name = "NAME", add = clap_complete::engine::ArgValueCandidates::new(candidates))]
    pub names: Vec<String>,

    /// Only machines with this label (repeatable: all must hold)
    #[arg(
        short = 'l',
        long = "label",
        value_name = "KEY=VALUE",
        help_heading = "Selectors"
    )]
    pub labels: Vec<String>,

    /// Only machines of this driver
    #[arg(long = "driver", value_name = "DRIVER", help_heading = "Selectors")]
    pub driver: Option<String>,

    /// Only machines in this state
    #[arg(long = "state", value_name = "STATE", help_heading = "Selectors", value_parser = STATES)]
    pub state: Option<String>,

    /// All machines
    #[arg(long = "all", help_heading = "Selectors")]
    pub all: bool,
}

impl Selection {
    /// True if the user said nothing at all.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && !self.all && !self.filters()
    }

    /// True if machines are named and nothing else narrows them down.
    pub fn is_names_only(&self) -> bool {
        !self.names.is_empty() && !self.filters()
    }

    fn filters(&self) -> bool {
        !self.labels.is_empty() || self.driver.is_some() || self.state.is_some()
    }
}

/// The names that a selection picks, for commands that do something with them.
///
/// # Errors
/// As [`pick`], and [`Error::BadRequest`] if nothing is picked.
pub async fn select(
    berth: &Berth,
    selection: &Selection,
    deadline: Duration,
) -> Result<Vec<String>> {
    let names = pick(berth, selection, deadline).await?;
    if names.is_empty() && !selection.is_empty() {
        return Err(Error::BadRequest {
            what: "the selection".into(),
            reason: "no machine matches it".into(),
        });
    }
    Ok(names)
}

/// The names that a selection picks, maybe none, each once, in the order given or by name.
///
/// # Errors
/// [`Error::NoSuchMachine`] for a name that is not there.
pub async fn pick(berth: &Berth, selection: &Selection, deadline: Duration) -> Result<Vec<String>> {
    let mut names = if selection.names.is_empty() {
        berth.home.machine_names()?
    } else {
        let mut seen = Vec::new();
        for name in &selection.names {
            // A machine whose record is damaged is there all the same: it can be listed and removed.
            if !berth.home.machine(name).path().exists()
                || crate::machine::check_name(name).is_err()
            {
                return Err(berth.no_such_machine(name));
            }
            if !seen.contains(name) {
                seen.push(name.clone());
            }
        }
        seen
    };
    if !selection.labels.is_empty() || selection.driver.is_some() {
        names.retain(|name| {
            berth
                .record(name)
                .is_ok_and(|record| matches(&record, selection))
        });
    }
    if let Some(state) = &selection.state {
        let rows = ask_all(berth, &names, deadline).await;
        names = rows
            .into_iter()
            .filter(|row| row.state.word() == state)
            .map(|row| row.name)
            .collect();
    }
    Ok(names)
}

fn matches(record: &Record, selection: &Selection) -> bool {
    let labels = selection
        .labels
        .iter()
        .all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => record.labels.get(key).is_some_and(|found| found == value),
            None => record.labels.contains_key(wanted),
        });
    let driver = selection
        .driver
        .as_ref()
        .is_none_or(|driver| *driver == record.driver);
    labels && driver
}

/// Machine names for shell completion.
pub fn candidates() -> Vec<clap_complete::CompletionCandidate> {
    crate::store::Home::from_environment()
        .ok()
        .and_then(|home| home.machine_names().ok())
        .unwrap_or_default()
        .into_iter()
        .map(clap_complete::CompletionCandidate::new)
        .collect()
}
