//! Starting a machine's QEMU.
//!
//! The sockets are made here and handed over open: a connection waits in line from the first moment, without
//! retries, and if QEMU dies early it ends at once.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use berth_driver_api::process::Newborn;
use berth_driver_api::record::KeptRecord;
use berth_driver_api::{Error, Machine, Progress, Result, credentials, files, ports, process};
use command_fds::CommandFdExt;

use crate::boot::BootKind;
use crate::call::CallError;
use crate::command_line::{Boot, CommandLine, Memory, Netdev, fds};
use crate::credentials::carrier;
use crate::hardware::Hardware;
use crate::names::{
    AGENT_PIPES, CHANNEL_SOCKET, CONSOLE, LOG, OLD_CONSOLE, PID_FILE, QMP_SOCKET, READY,
    RENEW_SOCKET, WATCH_SOCKET,
};
use crate::options::Network;
use crate::qmp::Monitor;
use crate::record::Record;
use crate::{disk, firmware, network, pipes, shares};

/// A console log that is longer than this when the machine starts is put aside.
const LONG_CONSOLE: u64 = 16 << 20;

/// From a program's start to its monitor's greeting, on a busy computer.
const GREETING: Duration = Duration::from_secs(30);

/// Why a QEMU did not start.
enum Failure {
    /// Someone else listens on the machine's port.
    PortTaken,
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Other(error)
    }
}

/// What a QEMU begins with.
pub(crate) enum Begin<'a> {
    /// The guest's boot.
    Boot,
    /// Memory that it is given when its monitor answers.
    Memory { was: &'a Hardware },
    /// A snapshot in the machine's disk, by its name there.
    Snapshot { tag: &'a str, was: &'a Hardware },
    /// The guest's boot, when its monitor says so, with its memory in a file that others will map; off any network.
    Template { memory: &'a Path },
    /// What its monitor is given of a machine that was frozen, with what that has in its file as its memory.
    Clone { memory: &'a Path },
}

impl Begin<'_> {
    /// The hardware that has to be another start's.
    fn hardware(&self) -> Option<&Hardware> {
        match self {
            Begin::Boot | Begin::Template { .. } | Begin::Clone { .. } => None,
            Begin::Memory { was } | Begin::Snapshot { was, .. } => Some(was),
        }
    }

    /// Whether the machine has the port for streams.
    fn has_channel(&self) -> bool {
        self.hardware().is_none_or(|was| was.channel)
    }

    /// Whether the machine has the timer that berth gives none any more.
    fn has_hpet(&self) -> bool {
        self.hardware().is_some_and(|was| was.hpet)
    }

    fn memory(&self) -> Memory<'_> {
        match self {
            Begin::Template { memory } => Memory::Kept(memory),
            Begin::Clone { memory } => Memory::CopyOf(memory),
            _ => Memory::Own,
        }
    }
}

/// Starts a QEMU for a machine that has none.
pub(crate) async fn power_on(
    machine: &Machine,
    begin: &Begin<'_>,
    progress: &dyn Progress,
) -> Result<()> {
    start_with(machine, begin, progress)
        .await?
        .into_iter()
        .for_each(|mut process| process.let_live());
    Ok(())
}

/// As [`power_on`], but QEMU ends with the first of what is returned, and what serves it with the rest, unless they are
/// let live.
pub(crate) async fn start_with(
    machine: &Machine,
    begin: &Begin<'_>,
    progress: &dyn Progress,
) -> Result<Vec<Newborn>> {
    let mut record = Record::existing(machine)?;
    if !disk::overlay(machine).exists() {
        return Err(Error::Missing(machine.name.clone()));
    }
    files::put_long_aside(
        &machine.file(CONSOLE),
        &machine.file(OLD_CONSOLE),
        LONG_CONSOLE,
    )?;
    for _ in 0..ports::MOST_EXCHANGES {
        match launch(machine, &record, begin, progress).await {
            Ok(processes) => return Ok(processes),
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::PortTaken) => {
                let taken = record.port.unwrap_or_default();
                record.port = Some(ports::exchange_taken(machine, taken, progress)?);
                record.save(machine)?;
            }
        }
    }
    Err(ports::always_taken("starting QEMU"))
}

async fn launch(
    machine: &Machine,
    record: &Record,
    begin: &Begin<'_>,
    progress: &dyn Progress,
) -> Result<Vec<Newborn>, Failure> {
    let arch = &machine.image()?.arch;
    let mut command = process::command(&program(arch))?;
    let mut shares = match begin {
        Begin::Boot => shares::serve(machine, progress).await?,
        // A machine that was kept had none, and its guest looks for no new devices.
        _ => Vec::new(),
    };
    let tags: Vec<String> = shares.iter().map(|server| server.tag.clone()).collect();
    command.args(arguments(machine, record, begin, &tags)?);
    match begin {
        Begin::Boot => {}
        Begin::Template { .. } => drop(command.arg("-S")),
        Begin::Memory { .. } => drop(command.args(["-incoming", "defer"])),
        Begin::Clone { .. } => drop(command.args(["-S", "-incoming", "defer"])),
        Begin::Snapshot { tag, .. } => drop(command.args(["-loadvm", tag])),
    }

    let mut handed_over = Vec::new();
    for (server, fd) in shares.iter_mut().zip(fds::SHARES..) {
        if let Some(socket) = server.socket.take() {
            handed_over.push(network::mapping(socket, fd));
        }
    }
    for (name, fd) in [
        (QMP_SOCKET, fds::QMP),
        (WATCH_SOCKET, fds::WATCH),
        (RENEW_SOCKET, fds::RENEW),
        (CHANNEL_SOCKET, fds::CHANNEL),
    ] {
        if name == CHANNEL_SOCKET && !begin.has_channel() {
            // Whoever looks for it must not find what a dead QEMU left.
            files::remove(&machine.socket(name))?;
            continue;
        }
        handed_over.push(network::mapping(listen(&machine.socket(name))?, fd));
    }
    pipes::make(&machine.socket(AGENT_PIPES))?;
    if record.network == Network::Passt && !matches!(begin, Begin::Template { .. }) {
        let helper = network::passt(record.port.unwrap_or_default()).await;
        let socket = helper.map_err(|error| match port_is_taken(&error.to_string()) {
            true => Failure::PortTaken,
            false => Failure::Other(error),
        })?;
        handed_over.push(network::mapping(socket, fds::NETWORK));
    }
    let log_file = machine.file(LOG);
    let log = File::create(&log_file).map_err(Error::io(&log_file))?;
    let log_too = log.try_clone().map_err(Error::io(&log_file))?;
    command
        .current_dir(&machine.folder)
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(log_too));
    command
        .as_std_mut()
        .fd_mappings(handed_over)
        .map_err(|error| Error::failed("handing sockets to QEMU", error))?;

    // If this future is dropped before QEMU has answered, nobody knows of it: it goes too.
    let mut newborn = Newborn::new(process::spawn_detached(command)?);
    let greeted = Monitor::connect(&machine.socket(QMP_SOCKET), GREETING).await;
    let Err(error) = greeted.map(drop) else {
        let servers = shares.into_iter().map(|server| server.process);
        return Ok([newborn].into_iter().chain(servers).collect());
    };
    let outcome = newborn.end().await;
    let words = files::last_lines(&log_file, 5);
    if port_is_taken(&words) {
        return Err(Failure::PortTaken);
    }
    Err(Failure::Other(match error {
        CallError::Timeout { after, .. } => Error::Timeout {
            what: "QEMU's start".into(),
            after,
        },
        _ if words.is_empty() => Error::failed("starting QEMU", outcome),
        _ => Error::Tool {
            tool: program(arch),
            detail: words,
        },
    }))
}

/// The QEMU program for guests of `arch`.
pub(crate) fn program(arch: &str) -> String {
    format!("qemu-system-{arch}")
}

fn arguments(
    machine: &Machine,
    record: &Record,
    begin: &Begin<'_>,
    shares: &[String],
) -> Result<Vec<String>> {
    let image = machine.image()?;
    let (firmware, variables);
    let boot = match (record.boot, &image.kernel) {
        (BootKind::Direct, Some(kernel)) => Boot::Direct {
            kernel,
            initrd: image.initrd.as_deref(),
            cmdline: image.cmdline.as_deref().unwrap_or_default(),
        },
        (BootKind::Direct, None) => {
            return Err(Error::failed(
                "starting QEMU",
                "the image has lost its kernel",
            ));
        }
        (BootKind::Efi, _) => {
            firmware = firmware::find(&image.arch).ok_or_else(|| no_firmware(&image.arch))?;
            variables = disk::variables(machine);
            Boot::Efi {
                firmware: &firmware,
                variables: &variables,
            }
        }
    };
    let netdev = match (&record.network, record.port) {
        _ if matches!(begin, Begin::Template { .. }) => Netdev::Isolated,
        (Network::Bridge(name), _) => Netdev::Bridge(name),
        (Network::User, Some(port)) => Netdev::User { port },
        (Network::Passt, Some(_)) => Netdev::Helper,
        (_, None) => return Err(Error::failed("starting QEMU", "its record names no port")),
    };
    CommandLine {
        id: machine.id,
        name: &machine.name,
        arch: &image.arch,
        accelerator: record.accelerator,
        machine_type: begin
            .hardware()
            .map_or(&record.machine_type, |was| &was.machine_type),
        cpu: &record.cpu,
        cpus: machine.spec.cpus,
        memory: machine.spec.memory,
        memory_is: begin.memory(),
        disk: &disk::overlay(machine),
        seed: machine.seed.as_deref(),
        shares,
        boot,
        netdev,
        carrier: carrier(&image.arch, record.boot),
        credentials: &credentials::list(machine)?,
        console: &machine.file(CONSOLE),
        ready: &machine.file(READY),
        agent: &machine.socket(AGENT_PIPES),
        channel: begin.has_channel(),
        hpet: begin.has_hpet(),
        boots: matches!(begin, Begin::Boot | Begin::Template { .. }),
        pid_file: &machine.file(PID_FILE),
    }
    .arguments()
}

/// The error where an image has a boot loader of its own, or `-o boot=efi` was said, and nothing runs that.
pub(crate) fn no_firmware(arch: &str) -> Error {
    Error::ToolMissing {
        tool: format!("{FIRMWARE}-{arch}"),
    }
}

/// What UEFI firmware without Secure Boot is called where it is missing, before the architecture's name.
pub(crate) const FIRMWARE: &str = "uefi-firmware";

/// Listens, in place of what a dead QEMU left.
fn listen(socket: &Path) -> Result<UnixListener> {
    files::remove(socket)?;
    UnixListener::bind(socket).map_err(Error::io(socket))
}

/// QEMU's and passt's words for an address that is in use.
fn port_is_taken(words: &str) -> bool {
    words.contains("Could not set up host forwarding rule")
        || words.contains("Failed to bind any port")
}
