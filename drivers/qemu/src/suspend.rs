//! A machine frozen to disk: its memory and the state of its devices are written to a file, from which QEMU goes on.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

use berth_driver_api::record::KeptRecord;
use berth_driver_api::running::Running;
use berth_driver_api::{Error, Machine, Progress, Result, State, files};
use qapi::qmp::{self, MigrationCapability, RunState};

use crate::call::CallError;
use crate::hardware::Hardware;
use crate::launch::{self, Begin};
use crate::memory::{self, Frozen};
use crate::names::{LOG, MEMORY, PID_FILE};
use crate::qmp::Monitor;
use crate::{clock, hardware, monitor, state};

/// As fast as the disk takes it, in bytes a second; QEMU's default is a network's pace.
const BANDWIDTH: u64 = 1 << 40;

/// Freezes the machine and ends its QEMU.
pub(crate) async fn suspend(machine: &Machine, progress: &dyn Progress) -> Result<()> {
    let running = Running::of(&machine.file(PID_FILE))?;
    if memory::is_frozen(machine) {
        return monitor::end(machine).await;
    }
    let Some(running) = running else {
        return Err(not_running(State::Stopped));
    };
    match state::of_running(machine, &running).await? {
        State::Running | State::Paused => {}
        state => return Err(not_running(state)),
    }
    let mut monitor = monitor::connect(machine).await?;
    must_be_movable(&mut monitor, "suspending the machine").await?;
    progress.phase("Writing its memory");
    if let Err(error) = freeze(machine, &mut monitor).await {
        // Nothing has become of it: the guest runs on.
        let goes_on = monitor::go_on(&mut monitor).await;
        let _ = files::remove(&files::unfinished(&memory::file(machine)));
        let detail = match goes_on {
            Ok(()) => format!("{error}; it runs on"),
            Err(_) => error.to_string(),
        };
        return Err(Error::failed("writing the machine's memory", detail));
    }
    drop(monitor);
    monitor::end(machine).await
}

fn not_running(state: State) -> Error {
    Error::WrongState {
        state,
        wanted: "running",
    }
}

/// Refuses a machine with something in it that cannot be kept in a file.
pub(crate) async fn must_be_movable(monitor: &mut Monitor, doing: &str) -> Result<()> {
    let asking = |error: CallError| Error::failed(doing, error);
    let devices = hardware::devices(monitor).await.map_err(asking)?;
    // Its server's state would be lost: what the guest has open in the folder is known there only.
    if devices.iter().any(|device| device.type_.contains("-fs-")) {
        let reason = "folders of this computer are in it by virtiofs, whose state cannot be kept; `berth mount rm` \
                      them and restart it first";
        return Err(Error::failed(doing, reason));
    }
    let asked = monitor.call(qmp::query_migrate {}).await.map_err(asking)?;
    match asked.blocked_reasons.unwrap_or_default().as_slice() {
        [] => Ok(()),
        reasons => Err(Error::failed(doing, reasons.join("; "))),
    }
}

async fn freeze(machine: &Machine, monitor: &mut Monitor) -> Result<()> {
    let call = |error: CallError| Error::failed("QEMU", error);
    // One that an earlier try left half-way has to run before it can be frozen.
    if monitor
        .call(qmp::query_status {})
        .await
        .map_err(call)?
        .status
        != RunState::running
    {
        monitor::go_on(monitor).await.map_err(call)?;
    }
    monitor.call(qmp::stop {}).await.map_err(call)?;
    let hardware = Hardware::of(monitor).await?;
    let new = files::unfinished(&memory::file(machine));
    files::remove(&new)?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(Error::io(&new))?;
    // QEMU runs in the machine's folder, so that no path has to be quoted.
    tell_events(monitor).await.map_err(call)?;
    let pace = qmp::migrate_set_parameters(qmp::MigrateSetParameters {
        max_bandwidth: Some(BANDWIDTH),
        ..qmp::MigrateSetParameters::default()
    });
    monitor.call(pace).await.map_err(call)?;
    let to = |uri: String| qmp::migrate {
        uri: Some(uri),
        channels: None,
        detach: None,
        resume: None,
    };
    // QEMU before 8.2 writes no files itself.
    let mut begun = monitor.call(to(format!("file:{MEMORY}.new"))).await;
    if let Err(CallError::Refused { .. }) = begun {
        begun = monitor.call(to(format!("exec:cat >{MEMORY}.new"))).await;
    }
    begun.map_err(call)?;
    moved(monitor).await?;
    file.sync_all().map_err(Error::io(&new))?;
    let around = Frozen {
        hardware,
        others: toml::Table::new(),
    };
    around.save(machine)?;
    files::settle(&new, &memory::file(machine))
}

/// Starts a QEMU and has it go on from the machine's memory, which is gone then.
pub(crate) async fn thaw(
    machine: &Machine,
    frozen: &Frozen,
    progress: &dyn Progress,
) -> Result<()> {
    // One that was about to end when berth was, or that did not get its memory.
    monitor::end(machine).await?;
    let begin = Begin::Memory {
        was: &frozen.hardware,
    };
    launch::power_on(machine, &begin, progress).await?;
    if let Err(error) = load(machine).await {
        monitor::end(machine).await?;
        return Err(error);
    }
    clock::set(machine, progress).await;
    Ok(())
}

async fn load(machine: &Machine) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| {
        let words = files::last_lines(&machine.file(LOG), 3);
        let detail = match words.is_empty() {
            true => error.to_string(),
            false => words,
        };
        Error::failed("reading the machine's memory", detail)
    };
    let mut monitor = monitor::connect(machine).await?;
    tell_events(&mut monitor).await.map_err(|e| failed(&e))?;
    let from = |uri: String| qmp::migrate_incoming {
        uri: Some(uri),
        channels: None,
        exit_on_error: None,
    };
    let mut begun = monitor.call(from(format!("file:{MEMORY}"))).await;
    if let Err(CallError::Refused { .. }) = begun {
        begun = monitor.call(from(format!("exec:cat <{MEMORY}"))).await;
    }
    begun.map_err(|error| failed(&error))?;
    moved(&mut monitor).await.map_err(|error| failed(&error))?;
    memory::forget(machine)?;
    let goes_on = monitor.call(qmp::cont {}).await;
    goes_on.map(drop).map_err(|error| failed(&error))
}

async fn tell_events(monitor: &mut Monitor) -> Result<(), CallError> {
    let capabilities = vec![qmp::MigrationCapabilityStatus {
        capability: MigrationCapability::events,
        state: true,
    }];
    let set = qmp::migrate_set_capabilities { capabilities };
    monitor.call(set).await.map(drop)
}

/// Returns when QEMU has written or read all.
async fn moved(monitor: &mut Monitor) -> Result<()> {
    let call = |error: CallError| Error::failed("QEMU", error);
    loop {
        let event = monitor.event().await.map_err(call)?;
        if event.name != "MIGRATION" {
            continue;
        }
        match event.data.get("status").and_then(|status| status.as_str()) {
            Some("completed") => return Ok(()),
            Some("failed" | "cancelled") => {
                let asked = monitor.call(qmp::query_migrate {}).await.map_err(call)?;
                let reason = asked.error_desc.unwrap_or("no reason given".into());
                return Err(Error::failed("QEMU", reason));
            }
            _ => {}
        }
    }
}
