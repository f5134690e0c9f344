//! What would have to be done for the machines to be as a fleet file says.

mod compare;
mod swarm;

pub use compare::{Difference, Part};
pub use swarm::SwarmRow;

use std::collections::HashMap;
use std::time::Duration;

use berth_driver_api::State;
use compare::DriverFacts;
use serde::Serialize;

use super::each::for_each;
use super::file::{Declared, Fleet, Wish};
use crate::machine::{Berth, Member, Record, Result, Seen, observe, show_size};

/// What is to be done with one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is as it is to be.
    Nothing,
    /// It is to be made.
    Create,
    /// Its create broke off, and is to be finished.
    Resume,
    /// It is to be changed, and stays.
    Change,
    /// It is to be removed and made anew: all data in it are lost.
    Replace,
    /// The file has it no more.
    Remove,
    /// Something would be to be done and may not be.
    Blocked,
    /// It could not be asked.
    Unknown,
}

/// One machine in a plan. Its JSON form is documented and stable.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The machine's name.
    pub name: String,
    /// Its group; null if the file has it no more.
    pub group: Option<String>,
    /// What is to be done.
    pub action: Action,
    /// Why: what it is, and what it is to be.
    pub differences: Vec<Difference>,
    /// Why that may not be done, could not be told, or was told by its record only; what is made of what.
    pub note: Option<String>,
}

/// What is to be done, machine by machine: those of the file in its order, then those that it has no more.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The fleet's name.
    pub fleet: String,
    /// Every machine of the fleet.
    pub machines: Vec<Row>,
    /// Every swarm that the file has.
    pub swarms: Vec<SwarmRow>,
}

impl Plan {
    /// How many machines each thing is to be done with.
    pub fn counts(&self) -> impl Fn(Action) -> usize + '_ {
        |action| {
            self.machines
                .iter()
                .filter(|row| row.action == action)
                .count()
        }
    }

    /// Whether every machine is as it is to be.
    pub fn is_empty(&self) -> bool {
        self.machines
            .iter()
            .all(|row| row.action == Action::Nothing)
            && self.swarms.iter().all(|swarm| swarm.differences.is_empty())
    }

    /// The machines whose data would be lost.
    pub fn doomed(&self) -> Vec<&str> {
        let doomed = |row: &&Row| matches!(row.action, Action::Replace | Action::Remove);
        self.machines
            .iter()
            .filter(doomed)
            .map(|row| row.name.as_str())
            .collect()
    }
}

/// Compares a fleet file with the machines, which are asked all at once, each within `deadline`.
///
/// # Errors
/// If the machines that there are cannot be told.
pub async fn plan(
    berth: &Berth,
    fleet: &Fleet,
    parallel: usize,
    deadline: Duration,
) -> Result<Plan> {
    let declared: HashMap<&str, &Declared> = fleet
        .machines
        .iter()
        .map(|machine| (machine.name.as_str(), machine))
        .collect();
    let mut names: Vec<String> = fleet
        .machines
        .iter()
        .map(|machine| machine.name.clone())
        .collect();
    for name in berth.home.machine_names()? {
        // A record that cannot be read tells no fleet; `berth ls` shows it.
        let member = berth.record(&name).ok().and_then(|record| record.member);
        if member.is_some_and(|member| member.fleet == fleet.name)
            && !declared.contains_key(name.as_str())
        {
            names.push(name);
        }
    }
    let rows = for_each(&names, parallel, |name| {
        let declared = declared.get(name.as_str()).copied();
        async move {
            match declared {
                Some(declared) => row(berth, fleet, declared, deadline).await,
                None => removal(berth, &name),
            }
        }
    });
    let machines: Vec<Row> = rows.await.into_iter().map(|(_, row)| row).collect();
    let mut swarms = Vec::new();
    for declared in &fleet.swarms {
        swarms.push(swarm::row(berth, declared, &machines).await);
    }
    Ok(Plan {
        fleet: fleet.name.clone(),
        machines,
        swarms,
    })
}

/// A machine of the fleet that the file has no more.
fn removal(berth: &Berth, name: &str) -> Row {
    let member = berth.record(name).ok().and_then(|record| record.member);
    let (action, note) = match member {
        Some(member) if member.protect => (
            Action::Blocked,
            "protected: the file has it no more, and it is not removed",
        ),
        _ => (Action::Remove, "the file has it no more"),
    };
    Row {
        name: name.to_owned(),
        group: None,
        action,
        differences: Vec::new(),
        note: Some(note.into()),
    }
}

async fn row(berth: &Berth, fleet: &Fleet, declared: &Declared, deadline: Duration) -> Row {
    let row = |action, differences, note: Option<String>| Row {
        name: declared.name.clone(),
        group: Some(declared.group.clone()),
        action,
        differences,
        note,
    };
    let name = &declared.name;
    if !berth.home.machine(name).path().exists() {
        return row(Action::Create, Vec::new(), Some(made_of(&declared.wish)));
    }
    let record = match berth.record(name) {
        Ok(record) => record,
        Err(error) => return row(Action::Unknown, Vec::new(), Some(error.to_string())),
    };
    if let Some(other) = record
        .member
        .as_ref()
        .filter(|member| member.fleet != fleet.name)
    {
        let note = format!("it is of fleet {}", other.fleet);
        return row(Action::Blocked, Vec::new(), Some(note));
    }
    let (seen, driver) = tokio::join!(
        observe(berth, &record, deadline),
        driver_facts(berth, &record)
    );
    let differences = compare::compare(declared, &record, &seen, &driver);
    let (action, note) = decide(declared, &record, &seen, &differences);
    row(action, differences, note)
}

fn decide(
    declared: &Declared,
    record: &Record,
    seen: &Seen,
    differences: &[Difference],
) -> (Action, Option<String>) {
    if let Some(trouble) = &seen.trouble {
        return (Action::Unknown, Some(trouble.clone()));
    }
    let going = seen.unfinished.as_deref() == Some("rm");
    let replaces = going
        || differences
            .iter()
            .any(|difference| difference.part.replaces());
    let protected = declared.protect || record.member.as_ref().is_some_and(|member| member.protect);
    let foreign = record.member.is_none();
    match (replaces, seen.unfinished.is_some(), differences.is_empty()) {
        (true, ..) if protected => (
            Action::Blocked,
            Some("protected: it would have to be replaced".into()),
        ),
        (true, ..) if foreign => {
            let note = "it would have to be replaced, and was not made for this fleet";
            (Action::Blocked, Some(note.into()))
        }
        (true, ..) => (
            Action::Replace,
            going.then(|| "its removal broke off".into()),
        ),
        (false, true, _) => (Action::Resume, Some("its create broke off".into())),
        (false, false, empty) => {
            let action = if empty {
                Action::Nothing
            } else {
                Action::Change
            };
            let restarts = || restarts(seen, differences);
            (action, by_record(record, seen).or_else(restarts))
        }
    }
}

/// What becomes of a machine that runs and gets another size.
fn restarts(seen: &Seen, differences: &[Difference]) -> Option<String> {
    let resized = |difference: &Difference| difference.part == Part::Resize;
    let restarts = seen.state == Some(State::Running) && differences.iter().any(resized);
    restarts.then(|| "it is restarted for its new size".into())
}

/// What a machine that does not run cannot tell.
fn by_record(record: &Record, seen: &Seen) -> Option<String> {
    let state = seen.state.filter(|state| *state != State::Running)?;
    record.installed.as_ref()?;
    Some(format!(
        "{state}: its engine was looked at by its record only"
    ))
}

async fn driver_facts(berth: &Berth, record: &Record) -> DriverFacts {
    let Ok(driver) = berth.drivers.get(&record.driver).await else {
        return DriverFacts::default();
    };
    let info = driver.info();
    let options = info.options.iter();
    DriverFacts {
        defaults: options
            .map(|option| (option.name.clone(), option.default.clone()))
            .collect(),
        resizes: info.capabilities.resize,
    }
}

/// What a new machine is made of, as far as the file says.
fn made_of(wish: &Wish) -> String {
    let mut parts = Vec::new();
    let mut add = |part: Option<String>| parts.extend(part);
    add(wish.driver.clone());
    add(wish
        .cpus
        .map(|cpus| format!("{cpus} {}", if cpus == 1 { "CPU" } else { "CPUs" })));
    add(wish
        .memory
        .map(|memory| format!("{} memory", show_size(memory))));
    add(wish.disk.map(|disk| format!("{} disk", show_size(disk))));
    add(wish.image.clone());
    add(wish.engine.as_ref().map(compare::show_engine));
    match parts.is_empty() {
        true => "as `berth create` makes them".into(),
        false => parts.join(", "),
    }
}

/// The mark that a machine of the file is to have.
pub fn mark_of(fleet: &Fleet, declared: &Declared) -> Member {
    Member {
        fleet: fleet.name.clone(),
        group: declared.group.clone(),
        protect: declared.protect,
        image: declared.wish.image.clone(),
        unknown: toml::Table::new(),
    }
}
