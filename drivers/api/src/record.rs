//! What a driver decided when it made a machine: a TOML file of its own beside the machine's disk.

use std::fs;
use std::io::ErrorKind;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Machine, Result, files};

/// A driver's record of a machine. To keep what a later version wrote there, flatten the fields that it does not know.
pub trait KeptRecord: Serialize + DeserializeOwned {
    /// The file's name in the machine's folder.
    const FILE: &str;

    /// The machine's record; `None` if none was written.
    ///
    /// # Errors
    /// If the file cannot be read or is not one.
    fn load(machine: &Machine) -> Result<Option<Self>> {
        let file = machine.file(Self::FILE);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(file)(error)),
        };
        Self::read(&text).map(Some)
    }

    /// Reads what a record's file has in it.
    ///
    /// # Errors
    /// If it is none.
    fn read(text: &str) -> Result<Self> {
        toml::from_str(text)
            .map_err(|error| Error::failed(format!("reading {}", Self::FILE), error))
    }

    /// What the record's file has in it.
    ///
    /// # Errors
    /// If it cannot be written as TOML.
    fn text(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|error| Error::failed(format!("writing {}", Self::FILE), error))
    }

    /// The record of a machine that was created.
    ///
    /// # Errors
    /// As [`KeptRecord::load`], and [`Error::Missing`] if there is none.
    fn existing(machine: &Machine) -> Result<Self> {
        Self::load(machine)?.ok_or_else(|| Error::Missing(machine.name.clone()))
    }

    /// Replaces the record, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    fn save(&self, machine: &Machine) -> Result<()> {
        let file = machine.file(Self::FILE);
        files::write(&file, self.text()?.as_bytes())
    }
}
