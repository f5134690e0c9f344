//! Which machines a command is about.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::LabelTest;
use super::file::{self, DEFAULT_FILE, Fleet};
use super::glob::{fits, is_pattern};
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
    /// Machines, by name or by a pattern such as 'web*' (quoted, so that the shell leaves it alone)
    #[arg(value_name = "NAME", add = clap_complete::engine::ArgValueCandidates::new(candidates))]
    pub names: Vec<String>,

    /// Selectors beside the names.
    #[command(flatten)]
    pub filters: Filters,
}

/// Selectors that pick machines by what they are.
#[derive(Debug, Clone, Default, Args)]
pub struct Filters {
    /// Only machines with this label; KEY!=VALUE: without it, KEY: with any value (repeatable: all must hold)
    #[arg(
        short = 'l',
        long = "label",
        value_name = "KEY=VALUE",
        help_heading = "Selectors"
    )]
    pub labels: Vec<LabelTest>,

    /// Only machines of this driver
    #[arg(long = "driver", value_name = "DRIVER", help_heading = "Selectors")]
    pub driver: Option<String>,

    /// Only machines in this state
    #[arg(long = "state", value_name = "STATE", help_heading = "Selectors", value_parser = STATES)]
    pub state: Option<String>,

    /// Only machines of this group of the fleet file (repeatable: of any of them)
    #[arg(long = "group", value_name = "GROUP", help_heading = "Selectors")]
    pub groups: Vec<String>,

    /// The fleet file that has the groups
    #[arg(long = "fleet-file", value_name = "FILE", default_value = DEFAULT_FILE, requires = "groups", help_heading = "Selectors", value_hint = clap::ValueHint::FilePath)]
    pub fleet_file: PathBuf,

    /// All machines
    #[arg(long = "all", help_heading = "Selectors")]
    pub all: bool,
}

impl Selection {
    /// True if the user said nothing at all.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.filters.is_empty()
    }

    /// True if machines are named one by one and nothing else narrows them down.
    pub fn is_names_only(&self) -> bool {
        let patterns = self.names.iter().any(|name| is_pattern(name));
        !self.names.is_empty() && !patterns && !self.filters.narrow()
    }
}

impl Filters {
    /// True if the user said nothing at all.
    pub fn is_empty(&self) -> bool {
        !self.all && !self.narrow()
    }

    fn narrow(&self) -> bool {
        !self.labels.is_empty()
            || self.driver.is_some()
            || self.state.is_some()
            || !self.groups.is_empty()
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
/// [`Error::NoSuchMachine`] for a name that is not there, or a pattern that nothing fits; [`Error::BadRequest`] for names
/// and `--all` together.
pub async fn pick(berth: &Berth, selection: &Selection, deadline: Duration) -> Result<Vec<String>> {
    if selection.filters.all && !selection.names.is_empty() {
        return Err(Error::BadRequest {
            what: "--all".into(),
            reason: "some machines are named as well: it is either".into(),
        });
    }
    let mut names = match selection.names.is_empty() {
        true => berth.home.machine_names()?,
        false => named(berth, &selection.names)?,
    };
    if !selection.filters.labels.is_empty() || selection.filters.driver.is_some() {
        names.retain(|name| {
            berth
                .record(name)
                .is_ok_and(|record| matches(&record, &selection.filters))
        });
    }
    if !selection.filters.groups.is_empty() {
        let members = grouped(&selection.filters)?;
        names.retain(|name| members.contains(name));
    }
    if let Some(state) = &selection.filters.state {
        let rows = ask_all(berth, &names, deadline).await;
        names = rows
            .into_iter()
            .filter(|row| row.state.word() == state)
            .map(|row| row.name)
            .collect();
    }
    Ok(names)
}

/// The machines that names and patterns mean, each once, those of a pattern by name.
fn named(berth: &Berth, wanted: &[String]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut seen = HashSet::new();
    let mut add = |name: String| {
        if seen.insert(name.clone()) {
            names.push(name);
        }
    };
    for wanted in wanted {
        if is_pattern(wanted) {
            let mut found = berth.home.machine_names()?;
            found.retain(|name| fits(wanted, name));
            if found.is_empty() {
                return Err(berth.no_such_machine(wanted));
            }
            found.into_iter().for_each(&mut add);
            continue;
        }
        // A machine whose record is damaged is there all the same: it can be listed and removed.
        let known = crate::machine::check_form(wanted).is_ok()
            && berth.home.machine(wanted).path().exists();
        if !known {
            return Err(berth.no_such_machine(wanted));
        }
        add(wanted.clone());
    }
    Ok(names)
}

/// The names of the machines that the fleet file has in the groups.
fn grouped(filters: &Filters) -> Result<HashSet<String>> {
    let bad = |error: file::Error| Error::BadRequest {
        what: "--group".into(),
        reason: match error.hint() {
            Some(hint) => format!("{error}: {hint}"),
            None => error.to_string(),
        },
    };
    let fleet = Fleet::read(&filters.fleet_file).map_err(bad)?;
    let mut names = HashSet::new();
    for group in &filters.groups {
        names.extend(fleet.group(group).map_err(bad)?.iter().cloned());
    }
    Ok(names)
}

fn matches(record: &Record, filters: &Filters) -> bool {
    let labels = filters.labels.iter();
    let driver = filters.driver.as_ref();
    labels.into_iter().all(|test| test.holds(&record.labels))
        && driver.is_none_or(|driver| *driver == record.driver)
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
