//! The machine's initrd: the kernel's own, and after it an archive with the machine's credentials. So they are in no
//! argument and no environment, but in a file that only the user may read, and then in the guest's memory.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use berth_driver_api::cpio::Archive;
use berth_driver_api::{Error, Machine, Result, credentials, files};

use crate::kernel::Kernel;

/// Its name in the machine's folder. It stays while the machine runs: a guest that reboots reads it again.
pub(crate) const FILE: &str = "initrd";

const FOLDER: u32 = 0o040_700;
const SECRET: u32 = 0o100_400;

/// Writes it.
pub(crate) fn write(machine: &Machine, kernel: &Kernel) -> Result<()> {
    let own = kernel.initrd();
    let bytes = fs::read(&own).map_err(Error::io(&own))?;
    let mut archive = Archive::after(bytes);
    archive.entry("credentials", FOLDER, b"");
    for (name, file) in credentials::list(machine)? {
        let value = fs::read(&file).map_err(Error::io(&file))?;
        archive.entry(&format!("credentials/{name}"), SECRET, &value);
    }
    let path = machine.file(FILE);
    files::remove(&path)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io(&path))?;
    // Made anew at every start, so it need not be durable.
    file.write_all(&archive.end()).map_err(Error::io(&path))
}
