//! A machine's disk: a copy-on-write overlay of its image, and its copy of the firmware's variables.

use std::fs;
use std::path::{Path, PathBuf};

use berth_driver_api::{DiskFormat, Error, Machine, Result, files, process};

use crate::firmware::Firmware;

/// What a machine's disk is called in its folder.
pub(crate) const NAME: &str = "disk.qcow2";

/// The machine's disk.
pub(crate) fn overlay(machine: &Machine) -> PathBuf {
    machine.file(NAME)
}

/// The machine's firmware variables.
pub(crate) fn variables(machine: &Machine) -> PathBuf {
    machine.file("efivars.fd")
}

/// Makes the overlay, unless a complete one is there.
pub(crate) async fn make_overlay(machine: &Machine) -> Result<()> {
    let image = machine.image()?;
    make_overlay_of(machine, &image.disk, image.format).await
}

/// Makes the machine's disk an overlay of `base`, unless a complete one is there.
pub(crate) async fn make_overlay_of(
    machine: &Machine,
    base: &Path,
    format: DiskFormat,
) -> Result<()> {
    let overlay = overlay(machine);
    if overlay.exists() {
        return Ok(());
    }
    let new = files::unfinished(&overlay);
    files::remove(&new)?;
    make_empty_of(machine, base, format, &new).await?;
    files::settle(&new, &overlay)
}

/// Makes an overlay of the machine's image in which nothing is written yet.
pub(crate) async fn make_empty(machine: &Machine, new: &Path) -> Result<()> {
    let image = machine.image()?;
    make_empty_of(machine, &image.disk, image.format, new).await
}

async fn make_empty_of(
    machine: &Machine,
    base: &Path,
    format: DiskFormat,
    new: &Path,
) -> Result<()> {
    let base = fs::canonicalize(base).map_err(Error::io(base))?;
    let mut command = process::command("qemu-img")?;
    command
        .args(["create", "-q", "-f", "qcow2", "-F", format.name(), "-b"])
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
