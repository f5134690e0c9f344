//! Snapshots inside the machine's disk file: of the disk alone, or with the memory of a machine that runs.

use std::path::PathBuf;
use std::time::Duration;

use berth_driver_api::record::KeptRecord;
use berth_driver_api::running::Running;
use berth_driver_api::snapshot::{Snapshot, check_name};
use berth_driver_api::{Error, Machine, Progress, Result, State, files, process};
use qapi::qmp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::boot::BootKind;
use crate::call::CallError;
use crate::hardware::Hardware;
use crate::launch::{self, Begin};
use crate::names::{DISK, PID_FILE, QMP_SOCKET, READY};
use crate::qmp::Monitor;
use crate::record::Record;
use crate::{clock, disk, memory, power, suspend};

/// Before every name in the disk file: qemu-img takes a number for one of its own.
const PREFIX: &str = "berth-";

/// Before the names of the files that say what a snapshot's memory needs around it.
const FILE_PREFIX: &str = "snapshot-";

/// While QEMU writes or reads memory it answers nothing.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What a snapshot's memory needs around it: `snapshot-NAME.toml`.
#[derive(Debug, Serialize, Deserialize)]
struct Around {
    #[serde(flatten)]
    hardware: Hardware,
    /// What the guest had said by then.
    said: String,
}

/// The snapshots in the machine's disk.
pub(crate) async fn list(machine: &Machine) -> Result<Vec<Snapshot>> {
    let about = disk::about(machine).await?;
    let ours = about.snapshots.into_iter().filter_map(|found| {
        Some(Snapshot {
            name: found.name.strip_prefix(PREFIX)?.to_owned(),
            taken: found.seconds,
            memory: (found.memory > 0).then_some(found.memory),
        })
    });
    Ok(ours.collect())
}

/// Takes one of the machine as it is.
pub(crate) async fn take(machine: &Machine, name: &str, progress: &dyn Progress) -> Result<()> {
    check_name(name)?;
    if memory::is_frozen(machine) {
        return Err(Error::WrongState {
            state: State::Suspended,
            wanted: "running or stopped",
        });
    }
    if Running::of(&machine.file(PID_FILE))?.is_none() {
        return in_file("-c", machine, name).await;
    }
    let doing = "taking the snapshot";
    if Record::existing(machine)?.boot == BootKind::Efi {
        let reason = "its firmware's variables are no part of one; stop it first, or make it with -o boot=direct";
        return Err(Error::failed(doing, reason));
    }
    let mut monitor = patient(machine).await?;
    suspend::must_be_movable(&mut monitor, doing).await?;
    progress.phase("Writing disk and memory");
    let around = Around {
        hardware: Hardware::of(&mut monitor).await?,
        said: std::fs::read_to_string(machine.file(READY)).unwrap_or_default(),
    };
    let text = toml::to_string(&around).map_err(|error| Error::failed(doing, error))?;
    files::write(&around_file(machine, name), text.as_bytes())?;
    let job = job();
    let save = qmp::snapshot_save {
        job_id: job.clone(),
        tag: tag(name),
        vmstate: DISK.into(),
        devices: vec![DISK.into()],
    };
    let begun = monitor.call(save).await;
    begun.map_err(|error| Error::failed(doing, error))?;
    concluded(&mut monitor, &job, doing).await
}

/// Makes the machine what it was.
pub(crate) async fn restore(machine: &Machine, name: &str, progress: &dyn Progress) -> Result<()> {
    let all = list(machine).await?;
    let Some(found) = all.iter().find(|snapshot| snapshot.name == name) else {
        return Err(Error::failed(
            "restoring the machine",
            format!("it has no snapshot {name}"),
        ));
    };
    let around = match found.memory {
        Some(_) => Some(around(machine, name)?),
        None => None,
    };
    power::kill(machine).await?;
    let Some(around) = around else {
        return in_file("-a", machine, name).await;
    };
    progress.phase("Reading disk and memory");
    // It will not say again what it had said.
    files::write(&machine.file(READY), around.said.as_bytes())?;
    let tag = tag(name);
    let begin = Begin::Snapshot {
        tag: &tag,
        was: &around.hardware,
    };
    launch::power_on(machine, &begin, progress).await?;
    clock::set(machine, progress).await;
    Ok(())
}

/// Removes one.
pub(crate) async fn remove(machine: &Machine, name: &str) -> Result<()> {
    check_name(name)?;
    if list(machine).await?.iter().any(|found| found.name == name) {
        match Running::of(&machine.file(PID_FILE))? {
            None => in_file("-d", machine, name).await?,
            Some(_) => {
                let doing = "removing the snapshot";
                let job = job();
                let delete = qmp::snapshot_delete {
                    job_id: job.clone(),
                    tag: tag(name),
                    devices: vec![DISK.into()],
                };
                let mut monitor = patient(machine).await?;
                let begun = monitor.call(delete).await;
                begun.map_err(|error| Error::failed(doing, error))?;
                concluded(&mut monitor, &job, doing).await?;
            }
        }
    }
    files::remove(&around_file(machine, name))
}

/// Removes the files beside the disk.
pub(crate) fn remove_files(machine: &Machine) -> Result<()> {
    for entry in std::fs::read_dir(&machine.folder)
        .into_iter()
        .flatten()
        .flatten()
    {
        if entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(FILE_PREFIX))
        {
            files::remove(&entry.path())?;
        }
    }
    Ok(())
}

fn tag(name: &str) -> String {
    format!("{PREFIX}{name}")
}

fn around_file(machine: &Machine, name: &str) -> PathBuf {
    machine.file(&format!("{FILE_PREFIX}{name}.toml"))
}

fn around(machine: &Machine, name: &str) -> Result<Around> {
    let file = around_file(machine, name);
    let text = std::fs::read_to_string(&file).map_err(Error::io(&file))?;
    toml::from_str(&text)
        .map_err(|error| Error::failed(format!("reading {}", file.display()), error))
}

async fn patient(machine: &Machine) -> Result<Monitor> {
    let monitor = Monitor::connect(&machine.socket(QMP_SOCKET), PATIENCE).await;
    monitor.map_err(|error| Error::failed("reaching QEMU's monitor", error))
}

/// `-c` makes, `-a` goes back to, `-d` deletes one in the file of a machine that is off.
async fn in_file(action: &str, machine: &Machine, name: &str) -> Result<()> {
    let mut command = process::command("qemu-img")?;
    command
        .args(["snapshot", action, &tag(name)])
        .arg(disk::overlay(machine));
    process::output(command).await.map(drop)
}

/// A name for a job, which QEMU wants to begin with a letter.
fn job() -> String {
    format!("job-{}", Uuid::new_v4())
}

/// Returns when the job has ended, well or not. One whose berth was killed stays in QEMU's list, and harms nothing.
async fn concluded(monitor: &mut Monitor, job: &str, doing: &str) -> Result<()> {
    let failed = |error: CallError| Error::failed(doing, error);
    loop {
        let event = monitor.event().await.map_err(failed)?;
        let is = |key: &str, value: &str| event.data.get(key).is_some_and(|told| told == value);
        if event.name == "JOB_STATUS_CHANGE" && is("id", job) && is("status", "concluded") {
            break;
        }
    }
    let jobs = monitor.call(qmp::query_jobs {}).await.map_err(failed)?;
    let error = jobs
        .into_iter()
        .find(|found| found.id == job)
        .and_then(|job| job.error);
    let dismiss = qmp::job_dismiss { id: job.into() };
    monitor.call(dismiss).await.map_err(failed)?;
    match error {
        Some(reason) => Err(Error::failed(doing, reason)),
        None => Ok(()),
    }
}
