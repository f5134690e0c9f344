//! Credentials on their way to the guest: files that only the user may read, in a folder of the machine's. QEMU's
//! command line names the files and never their content.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use berth_driver_api::{Credential, Error, Machine, Result};

use crate::command_line::Carrier;
use crate::files;
use crate::options::BootKind;

/// QEMU's configuration device takes names of 55 bytes, the prefix included.
const LONGEST_FW_CFG_NAME: usize = 55 - "opt/io.systemd.credentials/".len();

/// What carries credentials to such a guest. ARM guests have SMBIOS tables only where firmware makes them.
pub(crate) fn carrier(arch: &str, boot: BootKind) -> Carrier {
    match (arch, boot) {
        ("x86_64", _) | (_, BootKind::Efi) => Carrier::Smbios,
        (_, BootKind::Direct) => Carrier::FwCfg,
    }
}

/// The folder of the machine's credentials.
pub(crate) fn folder(machine: &Machine) -> PathBuf {
    machine.file("credentials")
}

/// Writes the credentials in the form that `carrier` wants.
pub(crate) fn write(machine: &Machine, credentials: &[Credential], carrier: Carrier) -> Result<()> {
    let folder = folder(machine);
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(Error::io(folder)(error));
        }
        _ => {}
    }
    for credential in credentials {
        let name = checked(&credential.name, carrier)?;
        match carrier {
            Carrier::Smbios => {
                let value = STANDARD.encode(&credential.value);
                let text = format!("io.systemd.credential.binary:{name}={value}");
                files::write(&folder.join(name), text.as_bytes())?;
            }
            Carrier::FwCfg => files::write(&folder.join(name), &credential.value)?,
        }
    }
    Ok(())
}

/// The machine's credentials by name, with their files.
pub(crate) fn list(machine: &Machine) -> Result<Vec<(String, PathBuf)>> {
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

fn checked(name: &str, carrier: Carrier) -> Result<&str> {
    let refuse = |why: &str| Err(Error::failed(format!("credential {name:?}"), why));
    if name.is_empty()
        || name.starts_with('.')
        || name.ends_with(".new")
        || !name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-@".contains(c))
    {
        return refuse("its name must be made of letters, digits and . _ - @");
    }
    if carrier == Carrier::FwCfg && name.len() > LONGEST_FW_CFG_NAME {
        return refuse("its name is too long for QEMU's configuration device; use -o boot=efi");
    }
    Ok(name)
}
