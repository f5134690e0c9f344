//! Copies of a machine: the same disk, and nothing else in common.
//!
//! The copy's disk is a whole file over the same image. The two could share what is the same by a third file under
//! both; but then the machine that is copied would have to be moved onto it, which cannot be taken back at every
//! point, and neither could ever be removed alone.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use berth_driver_api::ports::Ports;
use berth_driver_api::record::KeptRecord;
use berth_driver_api::running::Running;
use berth_driver_api::{Credential, Error, Machine, Progress, Result, files, process};
use qapi::qmp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::boot::BootKind;
use crate::call::CallError;
use crate::credentials::{carrier, write};
use crate::disk;
use crate::monitor;
use crate::names::{DISK, PID_FILE};
use crate::options::Network;
use crate::qmp::Monitor;
use crate::record::Record;

/// Makes `machine` with the disk that `source` has.
pub(crate) async fn make(
    source: &Machine,
    machine: &Machine,
    credentials: &[Credential],
    progress: &dyn Progress,
) -> Result<()> {
    let model = Record::existing(source)?;
    if !disk::overlay(source).exists() {
        return Err(Error::Missing(source.name.clone()));
    }
    let arch = &machine.image()?.arch;
    write(machine, credentials, carrier(arch, model.boot))?;
    if model.boot == BootKind::Efi && !disk::variables(machine).exists() {
        let from = disk::variables(source);
        let bytes = fs::read(&from).map_err(Error::io(&from))?;
        files::write(&disk::variables(machine), &bytes)?;
    }
    if Record::load(machine)?.is_none() {
        let port = match model.network {
            Network::Bridge(_) => None,
            Network::User | Network::Passt => Some(Ports::open(&machine.ports)?.lease(machine.id)?),
        };
        Record { port, ..model }.save(machine)?;
    }
    let overlay = disk::overlay(machine);
    // The disk comes last: a machine that has one is complete.
    if overlay.exists() {
        return Ok(());
    }
    progress.phase("Copying the disk");
    let new = files::unfinished(&overlay);
    files::remove(&new)?;
    let layer = backing(source).await?;
    match Running::of(&source.file(PID_FILE))? {
        None => copy_file(source, &new, &layer).await?,
        Some(_) => {
            disk::make_empty(machine, &new).await?;
            if !layer.is_image(machine)? {
                rebase(&new, &layer, Compare::No).await?;
            }
            copy_of_running(source, machine).await?;
        }
    }
    if !layer.is_image(machine)? {
        // What lies between the original and the image is another's, and is taken over.
        let image = machine.image()?;
        let image = Layer {
            file: fs::canonicalize(&image.disk).map_err(Error::io(&image.disk))?,
            format: image.format.name().to_owned(),
        };
        rebase(&new, &image, Compare::Yes).await?;
    }
    let written = File::open(&new).and_then(|file| file.sync_all());
    written.map_err(Error::io(&new))?;
    files::settle(&new, &overlay)
}

/// What lies below a disk.
#[derive(Deserialize)]
struct Layer {
    #[serde(rename = "full-backing-filename")]
    file: PathBuf,
    #[serde(rename = "backing-filename-format")]
    format: String,
}

impl Layer {
    fn is_image(&self, machine: &Machine) -> Result<bool> {
        let image = &machine.image()?.disk;
        Ok(self.file == fs::canonicalize(image).map_err(Error::io(image))?)
    }
}

async fn backing(machine: &Machine) -> Result<Layer> {
    let mut command = process::command("qemu-img")?;
    // Also of a disk that a QEMU has open.
    command
        .args(["info", "--force-share", "--output=json"])
        .arg(disk::overlay(machine));
    let told = process::output(command).await?;
    serde_json::from_slice(&told)
        .map_err(|error| Error::failed("reading what qemu-img says of the disk", error))
}

/// Whether what lies below is compared with what lay there, so that the disk stays what it was.
enum Compare {
    Yes,
    No,
}

/// Puts a disk on another layer.
async fn rebase(disk: &Path, layer: &Layer, compare: Compare) -> Result<()> {
    let mut command = process::command("qemu-img")?;
    command.args(["rebase", "-q", "-f", "qcow2"]);
    if let Compare::No = compare {
        command.arg("-u");
    }
    command
        .args(["-F", &layer.format, "-b"])
        .arg(&layer.file)
        .arg(disk);
    process::output(command).await.map(drop)
}

/// What differs from the layer below, without snapshots.
async fn copy_file(source: &Machine, new: &Path, layer: &Layer) -> Result<()> {
    let mut command = process::command("qemu-img")?;
    command
        .args(["convert", "-q", "-f", "qcow2", "-O", "qcow2", "-F"])
        .arg(&layer.format)
        .arg("-B")
        .arg(&layer.file)
        .arg(disk::overlay(source))
        .arg(new);
    process::output(command).await.map(drop)
}

/// The disk of this moment, which QEMU copies while the guest runs on: what that writes over is copied first.
async fn copy_of_running(source: &Machine, machine: &Machine) -> Result<()> {
    let doing = "copying the disk";
    let failed = |error: CallError| Error::failed(doing, error);
    let node = format!("copy-{}", &machine.id.simple().to_string()[..12]);
    let mut monitor = monitor::connect(source).await?;
    // Of a try that was given up.
    let _ = monitor
        .call(qmp::block_job_cancel {
            device: node.clone(),
            force: Some(true),
        })
        .await;
    let target = files::unfinished(&disk::overlay(machine));
    let target = target
        .to_str()
        .ok_or_else(|| Error::failed(doing, "the path is not UTF-8"))?;
    let target = json!({
        "driver": "qcow2", "node-name": node,
        "file": { "driver": "file", "filename": target },
    });
    let options = |value: Value, what: &str| Error::failed(doing, format!("{what}: {value}"));
    let target = serde_json::from_value(target.clone()).map_err(|_| options(target, "options"))?;
    monitor
        .call(qmp::blockdev_add(target))
        .await
        .map_err(failed)?;
    let backup = json!({
        "job-id": node, "device": DISK, "target": node, "sync": "top",
    });
    let backup = serde_json::from_value(backup.clone()).map_err(|_| options(backup, "options"))?;
    let copied = match monitor.call(qmp::blockdev_backup(backup)).await {
        Ok(_) => completed(&mut monitor, &node).await,
        Err(error) => Err(failed(error)),
    };
    let closed = monitor.call(qmp::blockdev_del { node_name: node }).await;
    copied?;
    closed.map(drop).map_err(failed)
}

async fn completed(monitor: &mut Monitor, job: &str) -> Result<()> {
    let doing = "copying the disk";
    loop {
        let event = monitor.event().await;
        let event = event.map_err(|error| Error::failed(doing, error))?;
        if event.data.get("device").is_none_or(|told| told != job) {
            continue;
        }
        match (event.name.as_str(), event.data.get("error")) {
            ("BLOCK_JOB_COMPLETED", None) => return Ok(()),
            ("BLOCK_JOB_COMPLETED", Some(error)) => {
                return Err(Error::failed(
                    doing,
                    error.as_str().unwrap_or("no reason given"),
                ));
            }
            ("BLOCK_JOB_CANCELLED", _) => return Err(Error::failed(doing, "it was cancelled")),
            _ => {}
        }
    }
}
