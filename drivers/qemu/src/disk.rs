//! A machine's disk: a copy-on-write overlay of its image, and its copy of the firmware's variables.

use std::fs;
use std::path::{Path, PathBuf};

use berth_driver_api::{DiskFormat, Error, Machine, Result, files, process};
use serde::Deserialize;

use crate::firmware::Firmware;

/// What a machine's disk is called in its folder.
pub(crate) const NAME: &str = "disk.qcow2";

/// What `qemu-img info` says that is read here.
#[derive(Deserialize)]
pub(crate) struct About {
    /// The disk's size as the guest sees it, in bytes.
    #[serde(rename = "virtual-size")]
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) snapshots: Vec<Kept>,
}

/// A snapshot inside the file.
#[derive(Deserialize)]
pub(crate) struct Kept {
    pub(crate) name: String,
    #[serde(rename = "date-sec")]
    pub(crate) seconds: i64,
    #[serde(rename = "vm-state-size")]
    pub(crate) memory: u64,
}

/// What is known of the machine's disk, also of one that a QEMU has open.
pub(crate) async fn about(machine: &Machine) -> Result<About> {
    let disk = overlay(machine);
    if !disk.exists() {
        return Err(Error::Missing(machine.name.clone()));
    }
    let mut command = process::command("qemu-img")?;
    command
        .args(["info", "--force-share", "--output=json"])
        .arg(disk);
    let told = process::output(command).await?;
    serde_json::from_slice(&told)
        .map_err(|error| Error::failed("reading what qemu-img says", error))
}

/// The disk's size in bytes, as the guest sees it.
pub(crate) async fn size(machine: &Machine) -> Result<u64> {
    Ok(about(machine).await?.size)
}

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
