//! Credentials on their way to the guest: files that only the user may read, in a folder of the machine's.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Machine, Result, files};

/// Something handed to a guest at first boot, as a systemd credential (systemd.io/CREDENTIALS).
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct Credential {
    /// The credential's name, such as `ssh.authorized_keys.root`.
    pub name: String,
    /// Its bytes. Secret.
    pub value: Vec<u8>,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credential({}, {} bytes)", self.name, self.value.len())
    }
}

/// The folder of the machine's credentials.
pub fn folder(machine: &Machine) -> PathBuf {
    machine.file("credentials")
}

/// Writes each credential to the file of its name, in the form that `form` gives it.
///
/// # Errors
/// If a name is not acceptable or a file cannot be written.
pub fn write(
    machine: &Machine,
    credentials: &[Credential],
    form: impl Fn(&Credential) -> Result<Vec<u8>>,
) -> Result<()> {
    let folder = folder(machine);
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(Error::io(folder)(error));
        }
        _ => {}
    }
    for credential in credentials {
        let name = checked(&credential.name)?;
        files::write(&folder.join(name), &form(credential)?)?;
    }
    Ok(())
}

/// The machine's credentials by name, with their files.
///
/// # Errors
/// If the folder cannot be read.
pub fn list(machine: &Machine) -> Result<Vec<(String, PathBuf)>> {
    let folder = folder(machine);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io(&folder))?;
        // A file whose writing was interrupted is not a credential.
        if let Some(name) = entry
            .file_name()
            .to_str()
            .filter(|name| !name.ends_with(".new"))
        {
            found.push((name.to_owned(), entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Removes the machine's credentials, if it has any.
///
/// # Errors
/// If they cannot be removed.
pub fn remove(machine: &Machine) -> Result<()> {
    let folder = folder(machine);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(folder)(error)),
        _ => Ok(()),
    }
}

/// The name, if it can be a file's.
///
/// # Errors
/// If it has other characters than letters, digits and `. _ - @`.
pub fn checked(name: &str) -> Result<&str> {
    if name.is_empty()
        || name.starts_with('.')
        || name.ends_with(".new")
        || !name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-@".contains(c))
    {
        return Err(Error::failed(
            format!("credential {name:?}"),
            "its name must be made of letters, digits and . _ - @",
        ));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_path() {
        assert!(checked("ssh.authorized_keys.root").is_ok());
        for bad in ["", ".", "../x", "a/b", "a b", "x.new"] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
