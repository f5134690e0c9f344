//! What berth knows of a swarm: `swarm.toml`. No token is in it; who does what is asked for, never stored.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use uuid::Uuid;

use super::{Error, Result};
use crate::machine::{Berth, check_name};
use crate::store::{self, Lock, Migration};

/// The steps from older forms of the record to today's. Add at the end, never change one that was released.
const MIGRATIONS: &[Migration] = &[];

/// How long a command waits for another berth process that works on the same swarm.
const LOCK_DEADLINE: Duration = Duration::from_secs(600);

/// A swarm of machines.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Swarm {
    version: i64,
    /// Its name, which is also its docker context's.
    pub name: String,
    /// Marks its docker context as berth's.
    pub id: Uuid,
    /// The engines' own id of it; none until there is a first manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swarm: Option<String>,
    /// How many managers it is to have.
    pub managers: usize,
    /// Its machines and their nodes' ids, which are empty until they have joined.
    pub machines: BTreeMap<String, String>,
    /// What a later berth wrote here.
    #[serde(flatten)]
    pub unknown: Table,
}

impl Swarm {
    /// A swarm that is only wished for.
    pub fn new(name: &str, managers: usize) -> Self {
        Swarm {
            version: MIGRATIONS.len() as i64 + 1,
            name: name.to_owned(),
            id: Uuid::new_v4(),
            swarm: None,
            managers,
            machines: BTreeMap::new(),
            unknown: Table::new(),
        }
    }

    /// The swarm `name`, if there is one.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub fn find(berth: &Berth, name: &str) -> Result<Option<Self>> {
        if check_name(name).is_err() {
            return Ok(None);
        }
        let path = file(berth, name);
        let Some(mut table) = store::read_table(&path)? else {
            return Ok(None);
        };
        store::migrate(&path, &mut table, MIGRATIONS)?;
        let swarm = Value::Table(table).try_into::<Swarm>();
        let damaged = |reason: String| store::Error::Damaged {
            path: path.clone(),
            reason,
        };
        let swarm = swarm.map_err(|error| damaged(error.to_string()))?;
        if swarm.name != name || swarm.machines.keys().any(|name| check_name(name).is_err()) {
            return Err(damaged("a name in it is none".into()).into());
        }
        Ok(Some(swarm))
    }

    /// The swarm `name`.
    ///
    /// # Errors
    /// [`Error::NoSuchSwarm`] with the names that there are.
    pub fn read(berth: &Berth, name: &str) -> Result<Self> {
        match Self::find(berth, name)? {
            Some(swarm) => Ok(swarm),
            None => Err(Error::NoSuchSwarm {
                name: name.chars().take(80).collect(),
                known: names(berth)?,
            }),
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If it cannot be written; the old one is then still there.
    pub fn write(&self, berth: &Berth) -> Result<()> {
        let path = file(berth, &self.name);
        Ok(store::write_toml(&path, self)?)
    }

    /// Forgets the swarm: its context and its file.
    ///
    /// # Errors
    /// If they cannot be removed.
    pub fn forget(&self, berth: &Berth) -> Result<()> {
        berth.docker.remove(&self.name, self.id)?;
        Ok(store::remove_folder(&folder(berth, &self.name))?)
    }

    /// Takes the swarm's lock, waited for; `on_wait` hears who has it. Its folder is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Busy`] if it is not given up in ten minutes.
    pub async fn lock(
        berth: &Berth,
        name: &str,
        doing: &str,
        on_wait: impl Fn(&str),
    ) -> Result<Lock> {
        store::create_private_folder(&folder(berth, name))?;
        let path = folder(berth, name).join("lock");
        let busy = |holder: &Option<store::Holder>| Error::Busy {
            name: name.to_owned(),
            holder: holder.clone(),
        };
        let taken = Lock::take(&path, doing, LOCK_DEADLINE, |holder| {
            on_wait(&format!("waiting: {}", busy(holder)));
        });
        taken.await?.map_err(|holder| busy(&holder))
    }
}

/// The names of all swarms, sorted.
///
/// # Errors
/// If their folder cannot be read.
pub fn names(berth: &Berth) -> Result<Vec<String>> {
    let all = berth.home.swarms();
    let entries = match fs::read_dir(&all) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(store::Error::io(all)(error).into()),
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        // A swarm that was only locked is none.
        .filter(|name| check_name(name).is_ok() && file(berth, name).exists())
        .collect();
    names.sort();
    Ok(names)
}

/// The swarm that a machine belongs to by berth's records.
///
/// # Errors
/// If a record cannot be read.
pub fn of_machine(berth: &Berth, machine: &str) -> Result<Option<Swarm>> {
    for name in names(berth)? {
        match Swarm::find(berth, &name)? {
            Some(swarm) if swarm.machines.contains_key(machine) => return Ok(Some(swarm)),
            _ => {}
        }
    }
    Ok(None)
}

fn folder(berth: &Berth, name: &str) -> PathBuf {
    berth.home.swarms().join(name)
}

fn file(berth: &Berth, name: &str) -> PathBuf {
    folder(berth, name).join("swarm.toml")
}
