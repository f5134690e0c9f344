//! In which form credentials are handed to QEMU, whose command line names their files and never their content.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use berth_driver_api::{Credential, Error, Machine, Result, credentials};

use crate::boot::BootKind;
use crate::command_line::Carrier;

/// QEMU's configuration device takes names of 55 bytes, the prefix included.
const LONGEST_FW_CFG_NAME: usize = 55 - "opt/io.systemd.credentials/".len();

/// What carries credentials to such a guest. ARM guests have SMBIOS tables only where firmware makes them.
pub(crate) fn carrier(arch: &str, boot: BootKind) -> Carrier {
    match (arch, boot) {
        ("x86_64", _) | (_, BootKind::Efi) => Carrier::Smbios,
        (_, BootKind::Direct) => Carrier::FwCfg,
    }
}

/// Writes the credentials in the form that `carrier` wants.
pub(crate) fn write(machine: &Machine, credentials: &[Credential], carrier: Carrier) -> Result<()> {
    credentials::write(machine, credentials, |credential| {
        let name = &credential.name;
        match carrier {
            Carrier::Smbios => {
                let value = STANDARD.encode(&credential.value);
                Ok(format!("io.systemd.credential.binary:{name}={value}").into_bytes())
            }
            Carrier::FwCfg if name.len() > LONGEST_FW_CFG_NAME => Err(Error::failed(
                format!("credential {name:?}"),
                "its name is too long for QEMU's configuration device; use -o boot=efi",
            )),
            Carrier::FwCfg => Ok(credential.value.clone()),
        }
    })
}
