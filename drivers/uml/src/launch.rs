//! Starting a machine's kernel, after its network helper.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use berth_driver_api::ports;
use berth_driver_api::process::Newborn;
use berth_driver_api::record::KeptRecord;
use berth_driver_api::running::{self, Running};
use berth_driver_api::{Error, Machine, Progress, Result, files, mac, process};
use command_fds::CommandFdExt;
use tokio::process::Command;

use crate::command_line::{self, CommandLine, fds};
use crate::confine::Confinement;
use crate::group::{Group, Plug};
use crate::helper::{self, Ends};
use crate::kernel::Kernel;
use crate::mconsole::{self, Notice};
use crate::memory::{self, Memory};
use crate::names::{CONSOLE, LOADER, OLD_CONSOLE, PID_FILE, READY, STARTED};
use crate::record::Record;
use crate::usermode::mapping;
use crate::{cpu, disk, initrd, leash, ready};

/// A console log that is longer than this when the machine starts is put aside.
const LONG_CONSOLE: u64 = 16 << 20;

/// From the kernel's start to its console's listening, on a busy computer.
const LISTENS: Duration = Duration::from_secs(30);

/// Starts the machine; if it runs, mends what of it has died.
pub(crate) async fn start(machine: &Machine, progress: &dyn Progress) -> Result<()> {
    let record = Record::existing(machine)?;
    if let Some(running) = Running::of(&machine.file(PID_FILE))?
        && runs_on(machine, &record, &running, progress).await?
    {
        return Ok(());
    }
    if !record.disk.file(machine).exists() {
        return Err(Error::Missing(machine.name.clone()));
    }
    let kernel = Kernel::of(machine)?;
    kernel.check()?;
    // What an earlier run left.
    running::kill(&machine.file(helper::PID_FILE), "network helper").await?;
    memory::remove(machine)?;

    let memory = Memory::choose(machine.spec.memory, Some(&machine.folder))?;
    for reason in &memory.passed_over {
        progress.note(&format!(
            "the guest's memory is in {}, since {reason}",
            memory.place().display()
        ));
    }
    prepare(machine, &record, &kernel)?;
    let launched = launch(machine, record, &kernel, &memory, progress).await;
    if launched.is_err() {
        memory::remove(machine)?;
    }
    launched
}

/// Mends a machine whose kernel lives; `false` if that ends, as one does whose start was given up a moment ago.
async fn runs_on(
    machine: &Machine,
    record: &Record,
    running: &Running,
    progress: &dyn Progress,
) -> Result<bool> {
    tokio::select! {
        biased;
        ended = running.ended() => return ended.map(|()| false),
        () = mconsole::opened(machine, LISTENS) => {}
    }
    if helper::is_lost(machine, running).await? {
        progress.note("the network helper had ended: another one takes its place");
        helper::replace(machine, record.port, running).await?;
    }
    if let Some(group) = Group::of(machine)? {
        group.join(false).await?;
    }
    Ok(Running::of(&machine.file(PID_FILE))?.is_some())
}

/// Lays out the folder that the kernel runs in.
fn prepare(machine: &Machine, record: &Record, kernel: &Kernel) -> Result<()> {
    record.disk.prepare(machine)?;
    initrd::write(machine, kernel)?;
    disk::link(machine, LOADER, &kernel.loader())?;
    if let Some(modules) = kernel.modules() {
        disk::link(machine, command_line::MODULES, &modules)?;
    }
    // A folder that a dead kernel left makes the next one take another name.
    let control = mconsole::folder(machine);
    remove_folder(machine)?;
    DirBuilder::new()
        .mode(0o700)
        .create(&control)
        .map_err(Error::io(&control))?;
    disk::link(machine, command_line::CONTROL, &control)?;
    files::put_long_aside(
        &machine.file(CONSOLE),
        &machine.file(OLD_CONSOLE),
        LONG_CONSOLE,
    )
}

/// Removes the folder of the machine's control sockets.
pub(crate) fn remove_folder(machine: &Machine) -> Result<()> {
    let control = mconsole::folder(machine);
    match std::fs::remove_dir_all(&control) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(control)(error)),
        _ => Ok(()),
    }
}

async fn launch(
    machine: &Machine,
    record: Record,
    kernel: &Kernel,
    memory: &Memory,
    progress: &dyn Progress,
) -> Result<()> {
    let failed = |error: std::io::Error| Error::failed("joining the kernel to its network", error);
    let (guest, cable) = UnixDatagram::pair().map_err(failed)?;
    let (watch, alive) = std::io::pipe().map_err(failed)?;
    let (cable, watch, alive) = (
        OwnedFd::from(cable),
        OwnedFd::from(watch),
        OwnedFd::from(alive),
    );
    let network = Ends {
        cable: cable.try_clone().map_err(failed)?,
        watch: watch.try_clone().map_err(failed)?,
    };
    let record = connect(machine, record, network, progress).await?;
    let group = Group::of(machine)?;
    let plug = match &group {
        Some(group) => Some(group.plug(machine).await?),
        None => None,
    };

    let notice = Notice::listen(machine)?;
    let folder = memory.folder_for(machine)?;
    let mut confinement = Confinement::of(machine, kernel, record.disk, &folder)?;
    let mut command = Command::new(kernel.program());
    let console = console(machine)?;
    let console_too = console
        .try_clone()
        .map_err(Error::io(machine.file(CONSOLE)))?;
    command
        .args(arguments(machine, &record, kernel, plug.as_ref())?)
        .current_dir(&machine.folder)
        .env_clear()
        .env(memory::VARIABLE, &folder)
        .stdin(Stdio::null())
        .stdout(Stdio::from(console))
        .stderr(Stdio::from(console_too));
    confinement.begin(&mut command, &machine.file(PID_FILE))?;
    let mut mappings = vec![
        mapping(guest.into(), fds::CABLE),
        mapping(cable, fds::HELPER),
        mapping(alive, fds::ALIVE),
        mapping(watch, fds::WATCH),
        mapping(ready_file(machine)?.into(), fds::READY),
    ];
    if let Some(plug) = plug {
        let (guest, switch) = UnixDatagram::pair().map_err(failed)?;
        mappings.extend([
            mapping(guest.into(), fds::GROUP_CABLE),
            mapping(switch.into(), fds::SWITCH),
            mapping(plug.alive, fds::GROUP_ALIVE),
        ]);
    }
    let leash = leash::make(machine)?;
    let tied = leash.is_some();
    mappings.extend(leash.map(|leash| mapping(leash, fds::LEASH)));
    command
        .as_std_mut()
        .fd_mappings(mappings)
        .map_err(|error| Error::failed("handing files to the kernel", error))?;
    if tied {
        leash::tie(&mut command);
    }
    confinement.end(&mut command);

    // If this future is dropped before the kernel has answered, nobody knows of it: it goes too, and its helper after.
    let child = process::spawn_detached(command)?;
    if let Some(pid) = child.id() {
        cpu::bind(pid as i32, machine.id);
    }
    let mut newborn = Newborn::new(child);
    let listens = tokio::select! {
        heard = notice.heard() => heard.map(|()| true)?,
        () = newborn.ended() => false,
        () = tokio::time::sleep(LISTENS) => {
            newborn.end().await;
            return Err(Error::Timeout { what: "the kernel's start".into(), after: LISTENS });
        }
    };
    if listens {
        newborn.let_live();
        return match group {
            Some(group) => group.join(true).await,
            None => Ok(()),
        };
    }
    let outcome = newborn.end().await;
    Err(Error::failed(
        format!("starting the kernel ({outcome})"),
        ready::last_words(machine),
    ))
}

/// Starts the helper, on another port if a stranger took the machine's.
async fn connect(
    machine: &Machine,
    mut record: Record,
    ends: Ends,
    progress: &dyn Progress,
) -> Result<Record> {
    for _ in 0..ports::MOST_EXCHANGES {
        match helper::start(machine, record.port, &ends).await {
            Ok(()) => return Ok(record),
            Err(helper::Failure::Other(error)) => return Err(error),
            Err(helper::Failure::PortTaken) => {
                record.port = ports::exchange_taken(machine, record.port, progress)?;
                record.save(machine)?;
            }
        }
    }
    Err(ports::always_taken("starting the network helper"))
}

fn arguments(
    machine: &Machine,
    record: &Record,
    kernel: &Kernel,
    plug: Option<&Plug>,
) -> Result<Vec<String>> {
    let mac = mac(machine.id);
    // Another one, of the same kind.
    let second_mac = mac.replacen("52:54:", "52:56:", 1);
    let image = machine.image()?;
    let parameters = [image.cmdline.clone().unwrap_or_default(), kernel.cmdline()?].join(" ");
    Ok(CommandLine {
        memory: machine.spec.memory,
        disk: record.disk,
        modules: kernel.modules().is_some(),
        mac: &mac,
        shared: plug.map(|plug| (&*second_mac, &*plug.address)),
        parameters: &parameters,
    }
    .arguments())
}

fn console(machine: &Machine) -> Result<File> {
    let path = machine.file(CONSOLE);
    let open = || -> std::io::Result<File> {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)?;
        // On a line of its own, whatever was written last.
        writeln!(file, "\n{}", STARTED)?;
        Ok(file)
    };
    open().map_err(Error::io(&path))
}

/// Empties the file for the guest's words.
fn ready_file(machine: &Machine) -> Result<File> {
    let path = machine.file(READY);
    files::remove(&path)?;
    OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io(&path))
}
