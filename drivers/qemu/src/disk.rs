//! A machine's disk: a copy-on-write overlay of its image, and its copy of the firmware's variables.

use std::fs;
use std::path::{Path, PathBuf};

use berth_driver_api::{Error, Machine, Result, files, process};

use crate::firmware::Firmware;

/// The machine's disk.
pub(crate) fn overlay(machine: &Machine) -> PathBuf {
    machine.file("disk.qcow2")
}

/// The machine's firmware variables.
pub(crate) fn variables(machine: &Machine) -> PathBuf {
    machine.file("efivars.fd")
}

/// Makes the overlay, unless a complete one is there.
pub(crate) async fn make_overlay(machine: &Machine) -> Result<()> {
    let overlay = overlay(machine);
    if overlay.exists() {
        return Ok(());
    }
    let new = files::unfinished(&overlay);
    files::remove(&new)?;
    make_empty(machine, &new).await?;
    files::settle(&new, &overlay)
}

/// Makes an overlay of the machine's image in which nothing is written yet.
pub(crate) async fn make_empty(machine: &Machine, new: &Path) -> Result<()> {
    let image = machine.image()?;
    let base = fs::canonicalize(&image.disk).map_err(Error::io(&image.disk))?;
    let mut command = process::command("qemu-img")?;
    command
        .args([
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            image.format.name(),
            "-b",
        ])
        .arg(base)
        .arg(new)
        .arg(machine.spec.disk.to_string());
    process::output(command).await.map(drop)
}

/// Copies the firmware's variables, unless the machine has its own.
pub(crate) fn make_variables(machine: &Machine, firmware: &Firmware) -> Result<()> {
    let variables = variables(machine);
    if variables.exists() {
        return Ok(());
    }
    let template = fs::read(&firmware.variables).map_err(Error::io(&firmware.variables))?;
    files::write(&variables, &template)
}
