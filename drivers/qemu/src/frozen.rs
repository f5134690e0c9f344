//! Machines that were frozen when they were up, and machines that go on from there.
//!
//! A frozen machine is three files: its memory, its devices' state (QEMU's migration stream, without the memory) and its
//! disk. A machine that is thawed maps the memory privately, so that what it does not write is shared by all, and its
//! disk is an overlay. Until its guest has become somebody else its network card has no link.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use berth_driver_api::process::Newborn;
use berth_driver_api::record::KeptRecord;
use berth_driver_api::running::Running;
use berth_driver_api::thaw::Words;
use berth_driver_api::{DiskFormat, Error, Machine, Progress, Rest, Result, process};
use qapi::qmp;

use crate::agent::Agent;
use crate::boot::BootKind;
use crate::call::{CallError, within};
use crate::command_line::memory_in_kib;
use crate::launch::{self, Begin, start_with};
use crate::names::{AGENT_PIPES, DEVICES, PID_FILE, SHARED_MEMORY};
use crate::options::Network;
use crate::qmp::Monitor;
use crate::record::Record;
use crate::renewal::Waiting;
use crate::{device_state, disk, monitor, network, power, ready};

/// How long the guest agent may take for an answer; an emulated guest on a busy computer is slow.
const AGENT: Duration = Duration::from_secs(120);

/// How long a script may take in the guest.
const SCRIPT: Duration = Duration::from_secs(300);

/// How long the guest may take to get its address.
const NETWORK: Duration = Duration::from_secs(300);

/// No devices' state comes near this (bytes).
const MOST_STATE: u64 = 256 << 20;

/// The name of the network card's device, whose link is cut.
const CARD: &str = "nic0";

/// What a frozen machine depends on besides its size and image.
pub(crate) async fn key(machine: &Machine, record: &Record) -> Result<BTreeMap<String, String>> {
    if let Network::Bridge(_) = record.network {
        return Err(unsupported("freeze machines on a bridge"));
    }
    if record.boot == BootKind::Efi {
        return Err(unsupported("freeze machines that firmware boots"));
    }
    if machine.seed.is_some() {
        return Err(unsupported("freeze machines that cloud-init sets up"));
    }
    let name = launch::program(&machine.image()?.arch);
    let program = process::find(&name).ok_or(Error::ToolMissing { tool: name.clone() })?;
    let file = fs::metadata(&program).map_err(Error::io(&program))?;
    let version = process::version(&name).await.map(|(_, words)| words);
    let mut key = BTreeMap::from([
        // Another build of the same version may have other devices.
        (
            "qemu".into(),
            format!(
                "{}, {} bytes of {}",
                version.unwrap_or_default(),
                file.len(),
                file.mtime()
            ),
        ),
        ("machine".into(), record.machine_type.clone()),
        ("cpu".into(), record.cpu.clone()),
        ("accel".into(), record.accelerator.word().into()),
        // What older berths have frozen has one.
        ("hpet".into(), "off".into()),
    ]);
    if record.cpu.contains("host") {
        key.insert("host-cpu".into(), host_cpu());
    }
    Ok(key)
}

fn unsupported(what: &str) -> Error {
    Error::Unsupported {
        driver: "qemu".into(),
        what: what.into(),
    }
}

/// The host's CPU, for guests that see it as it is.
fn host_cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let lines = text.lines().take_while(|line| !line.is_empty());
    let kept = lines.filter(|line| {
        ["model name", "stepping", "microcode", "flags"]
            .iter()
            .any(|name| line.starts_with(name))
    });
    kept.collect::<Vec<_>>().join("\n")
}

/// Boots a machine whose disk is made, has its guest do `script` once it has said `word`, and freezes it.
pub(crate) async fn freeze(
    machine: &Machine,
    word: &str,
    script: &str,
    progress: &dyn Progress,
) -> Result<()> {
    let memory = machine.file(SHARED_MEMORY);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&memory)
        .map_err(Error::io(&memory))?;
    let size = memory_in_kib(machine.spec.memory) << 10;
    file.set_len(size).map_err(Error::io(&memory))?;
    progress.phase("Booting");
    let mut processes = boot(machine, &memory, progress).await?;
    if let Err(error) = ready::wait_for(machine, word).await {
        // As for every VM that dies while it boots: QEMU has faults that strike once in many boots (its issue 1921).
        progress.note(&format!("{error}; it is started once more"));
        drop(processes);
        power::kill(machine).await?;
        file.set_len(0)
            .and_then(|()| file.set_len(size))
            .map_err(Error::io(&memory))?;
        processes = boot(machine, &memory, progress).await?;
        ready::wait_for(machine, word).await?;
    }

    progress.phase("Settling the guest");
    // A port that nobody holds on the host's side has nothing to wait for.
    let waiting = Waiting::connect(machine).await?;
    let mut agent = agent(machine).await?;
    agent
        .run(script, SCRIPT)
        .await
        .map_err(|error| Error::failed("settling the guest", error))?;
    drop(agent);

    progress.phase("Freezing");
    let running = Running::of(&machine.file(PID_FILE))?;
    device_state::save(machine)
        .await
        .map_err(|error| Error::failed("freezing the machine", error))?;
    power::kill(machine).await?;
    if let Some(running) = running {
        running.ended().await?;
    }
    drop((processes, waiting));
    file.sync_all().map_err(Error::io(&memory))?;
    for file in [disk::overlay(machine), machine.file(DEVICES)] {
        seal(&file)?;
    }
    Ok(())
}

/// Has a machine boot off any network, with its memory in a file.
async fn boot(machine: &Machine, memory: &Path, progress: &dyn Progress) -> Result<Vec<Newborn>> {
    let processes = start_with(machine, &Begin::Template { memory }, progress).await?;
    let mut monitor = monitor::connect(machine).await?;
    let failed = |error| Error::failed("starting the machine", error);
    link(&mut monitor, false).await.map_err(failed)?;
    monitor.call(qmp::cont {}).await.map_err(failed)?;
    Ok(processes)
}

/// Makes a complete file durable, and read-only. Not the memory's: older QEMUs open what they map privately for writing.
fn seal(path: &Path) -> Result<()> {
    let file = fs::File::open(path).map_err(Error::io(path))?;
    file.set_permissions(fs::Permissions::from_mode(0o400))
        .and_then(|()| file.sync_all())
        .map_err(Error::io(path))
}

async fn agent(machine: &Machine) -> Result<Agent> {
    let agent = Agent::connect(&machine.socket(AGENT_PIPES), AGENT).await;
    agent.map_err(|error| Error::failed("reaching the guest agent", error))
}

async fn link(monitor: &mut Monitor, up: bool) -> Result<(), CallError> {
    let name = CARD.into();
    monitor.call(qmp::set_link { name, up }).await.map(drop)
}

/// Makes the machine's disk an overlay of the frozen one's, and has it go on where that one stopped.
pub(crate) async fn thaw(
    machine: &Machine,
    from: &Path,
    words: &Words<'_>,
    progress: &dyn Progress,
) -> Result<Rest> {
    progress.phase("Restoring");
    let frozen = from.join(disk::NAME);
    disk::make_overlay_of(machine, &frozen, DiskFormat::Qcow2).await?;
    let devices = from.join(DEVICES);
    let length = fs::metadata(&devices).map_err(Error::io(&devices))?.len();
    if length > MOST_STATE {
        return Err(Error::failed(
            "the frozen machine",
            "its devices' state is too long",
        ));
    }
    let state = fs::read(&devices).map_err(Error::io(&devices))?;
    let memory = from.join(SHARED_MEMORY);
    let mut processes = start_with(machine, &Begin::Clone { memory: &memory }, progress).await?;
    let mut monitor = monitor::connect(machine).await?;
    let mut waiting = Waiting::connect(machine).await?;
    let cut_and_go = async {
        device_state::restore(machine, &mut monitor, state).await?;
        link(&mut monitor, false).await?;
        monitor.call(qmp::cont {}).await
    };
    cut_and_go
        .await
        .map_err(|error| Error::failed("restoring the frozen machine", error))?;
    // Others may ask for the machine's state meanwhile.
    drop(monitor);

    progress.phase("Renewing");
    let place = match Record::existing(machine)?.network {
        Network::User => Some(network::user_place()),
        Network::Passt | Network::Bridge(_) => None,
    };
    waiting
        .become_another(&words(place.as_ref()))
        .await
        .map_err(|error| Error::failed("making the machine one of its own", error))?;

    progress.phase("Joining the network");
    let mut monitor = monitor::connect(machine).await?;
    link(&mut monitor, true)
        .await
        .map_err(|error| Error::failed("linking the machine to its network", error))?;
    drop(monitor);
    let rest = match place {
        Some(_) => waiting.rest(),
        None => {
            // The services that get the guest its address are of what it leaves for later.
            drop(waiting);
            let mut agent = agent(machine).await?;
            let joined = network::has_address(&mut agent, machine);
            within(NETWORK, "the guest's address", joined)
                .await
                .map_err(|error| Error::failed("joining the network", error))?;
            Rest::until_dropped(())
        }
    };
    processes.iter_mut().for_each(|process| process.let_live());
    Ok(rest)
}
