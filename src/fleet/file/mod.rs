//! The fleet file: which machines there are to be, and what they are to be like.

mod error;
mod expand;
mod export;
mod names;
mod pace;
mod schema;
mod wish;

pub use error::Error;
pub use export::{Secrets, export};
pub use schema::schema;
pub use wish::Wish;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use error::Wrong;
use schema::Document;

use super::rollout::Pace;

/// The file that is taken where none is named.
pub const DEFAULT_FILE: &str = "fleet.toml";

/// A fleet file is far smaller (bytes).
const MAX_SIZE: u64 = 4 << 20;

/// A fleet file, read and checked.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// The fleet's name.
    pub name: String,
    /// Where it was read.
    pub path: PathBuf,
    /// The machines that there are to be, by group and number.
    pub machines: Vec<Declared>,
    /// The swarms that there are to be.
    pub swarms: Vec<DeclaredSwarm>,
    /// The names of each group's machines.
    pub groups: BTreeMap<String, Vec<String>>,
    /// How carefully changes are taken across them.
    pub pace: Pace,
    /// A command that has to succeed on every machine whose engine was upgraded.
    pub gate: Option<String>,
}

/// A machine that there is to be.
#[derive(Debug, Clone)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Whether it is never removed or replaced.
    pub protect: bool,
    /// What it is to be like.
    pub wish: Wish,
}

/// A swarm that a group's machines are to be.
#[derive(Debug, Clone)]
pub struct DeclaredSwarm {
    /// Its name.
    pub name: String,
    /// The group.
    pub group: String,
    /// How many machines decide.
    pub managers: usize,
    /// The group's machines.
    pub machines: Vec<String>,
}

impl Fleet {
    /// Reads a fleet file. What is relative in it is so to its folder.
    ///
    /// # Errors
    /// If it cannot be read, or anything in it is wrong; then with the line and the column.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        let file = File::open(path).map_err(io)?;
        file.take(MAX_SIZE + 1)
            .read_to_string(&mut text)
            .map_err(io)?;
        if text.len() as u64 > MAX_SIZE {
            return Err(io(std::io::Error::other("it is too long for a fleet file")));
        }
        let absolute = std::path::absolute(path).map_err(io)?;
        let folder = absolute.parent().unwrap_or(Path::new("/"));
        Self::parse(path, folder, &text).map_err(|wrong| wrong.in_file(path, &text))
    }

    fn parse(path: &Path, folder: &Path, text: &str) -> Result<Self, Wrong> {
        let document: Document = toml::from_str(text).map_err(|error| Wrong::of_toml(&error))?;
        let (machines, swarms) = expand::expand(&document, folder)?;
        let mut groups: BTreeMap<String, Vec<String>> = document
            .groups
            .keys()
            .map(|name| (name.get_ref().clone(), Vec::new()))
            .collect();
        for machine in &machines {
            let names = groups.entry(machine.group.clone()).or_default();
            names.push(machine.name.clone());
        }
        Ok(Fleet {
            name: document.fleet.to_string(),
            path: path.to_owned(),
            machines,
            swarms,
            groups,
            pace: pace::pace(&document.rollout)?,
            gate: document.rollout.gate,
        })
    }

    /// The names of a group's machines.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`].
    pub fn group(&self, group: &str) -> Result<&[String], Error> {
        match self.groups.get(group) {
            Some(names) => Ok(names),
            None => Err(Error::NoSuchGroup {
                path: self.path.clone(),
                group: group.chars().take(80).collect(),
                known: self.groups.keys().cloned().collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
