//! The network helper: a QEMU that runs no machine and is only its user-mode network, at the other end of the guest's
//! cable. It forwards a loopback port to the guest's SSH server.
//!
//! It ends when the kernel does: it holds one end of a pipe whose other end only the kernel has, and asks the system
//! for a signal when that closes. And where it ends before the kernel does, another one takes its place: the kernel
//! keeps a copy of the cable's end, which any process of the user's can ask it for, so the guest notices a pause.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use berth_driver_api::running::{self, Running};
use berth_driver_api::{Error, Machine, Result, files, process};
use command_fds::{CommandFdExt, FdMapping};
use nix::libc;
use tokio::process::Command;

/// Names in the machine's folder.
pub(crate) const PID_FILE: &str = "network.pid";
pub(crate) const LOG: &str = "network.log";

/// The program. Any of its kind would do; this is the one that is installed for the driver qemu as well.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";

/// The oldest QEMU that takes a cable by its descriptor.
pub(crate) const OLDEST: (u32, u32) = (7, 2);

/// From the helper's start to its monitor's greeting, on a busy computer.
const GREETING: Duration = Duration::from_secs(30);

/// Of fcntl(2); the crate libc does not have it for this platform.
const F_SETSIG: libc::c_int = 10;

/// How long it has to end after its kernel.
const END: Duration = Duration::from_secs(2);

/// How long a kernel that was killed together with its helper takes to end.
const KERNEL_END: Duration = Duration::from_millis(300);

/// The descriptors at which the helper finds what was opened for it.
mod fds {
    pub(super) const CABLE: i32 = 10;
    pub(super) const WATCH: i32 = 11;
    pub(super) const MONITOR: i32 = 12;
}

/// Why a helper did not start.
pub(crate) enum Failure {
    /// Someone else listens on the machine's port.
    PortTaken,
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Other(error)
    }
}

/// What joins a helper to its kernel.
pub(crate) struct Ends {
    /// Its end of the cable.
    pub(crate) cable: OwnedFd,
    /// The end of the pipe that tells when the kernel has ended.
    pub(crate) watch: OwnedFd,
}

/// The machine's helper, if it lives.
pub(crate) fn of(machine: &Machine) -> Result<Option<Running>> {
    Running::of(&machine.file(PID_FILE))
}

/// True if the helper is gone and the kernel is not: both may have been killed, and a kernel takes a moment to go.
pub(crate) async fn is_lost(machine: &Machine, kernel: &Running) -> Result<bool> {
    if of(machine)?.is_some() {
        return Ok(false);
    }
    match tokio::time::timeout(KERNEL_END, kernel.ended()).await {
        Ok(ended) => ended.map(|()| false),
        Err(_) => Ok(of(machine)?.is_none()),
    }
}

/// Starts the machine's helper and returns when it serves.
pub(crate) async fn start(machine: &Machine, port: u16, ends: &Ends) -> Result<(), Failure> {
    match launch(machine, port, ends, true).await {
        // A QEMU that was built without libseccomp.
        Err(Failure::Other(error)) if error.to_string().contains("-sandbox") => {
            launch(machine, port, ends, false).await
        }
        outcome => outcome,
    }
}

async fn launch(machine: &Machine, port: u16, ends: &Ends, sandbox: bool) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Error::failed("starting the network helper", error);
    let (ours, monitor) = UnixStream::pair().map_err(failed)?;
    let log_file = machine.file(LOG);
    let log = File::create(&log_file).map_err(Error::io(&log_file))?;
    let log_too = log.try_clone().map_err(Error::io(&log_file))?;

    let mut command = process::command(PROGRAM)?;
    command
        .args(arguments(&machine.name, port, sandbox))
        .current_dir(&machine.folder)
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(log_too));
    command
        .as_std_mut()
        .fd_mappings(vec![
            mapping(ends.cable.try_clone().map_err(failed)?, fds::CABLE),
            mapping(ends.watch.try_clone().map_err(failed)?, fds::WATCH),
            mapping(monitor.into(), fds::MONITOR),
        ])
        .map_err(|error| Error::failed("starting the network helper", error))?;
    end_with_kernel(&mut command);

    let mut newborn = process::Newborn::new(process::spawn_detached(command)?);
    if tokio::time::timeout(GREETING, greeting(ours))
        .await
        .is_ok_and(|greeted| greeted.is_ok())
    {
        newborn.let_live();
        return Ok(());
    }
    let outcome = newborn.end().await;
    let words = files::last_lines(&log_file, 5);
    if words.contains("Could not set up host forwarding rule") {
        return Err(Failure::PortTaken);
    }
    Err(Failure::Other(Error::Tool {
        tool: PROGRAM.into(),
        detail: if words.is_empty() { outcome } else { words },
    }))
}

/// Waits for the monitor's first byte: its greeting, sent when everything else is set up.
async fn greeting(monitor: UnixStream) -> std::io::Result<()> {
    monitor.set_nonblocking(true)?;
    let monitor = tokio::net::UnixStream::from_std(monitor)?;
    monitor.readable().await?;
    let mut byte = [0];
    match monitor.into_std()?.read(&mut byte)? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Makes the system send the program SIGTERM when the last writing end of its pipe closes. QEMU ends orderly then.
fn end_with_kernel(command: &mut Command) {
    // SAFETY: getpid(2) and fcntl(2) are async-signal-safe and touch no memory of the parent's.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(|| {
            let flags = libc::O_ASYNC | libc::O_NONBLOCK;
            for (call, value) in [
                (libc::F_SETOWN, libc::getpid()),
                (F_SETSIG, libc::SIGTERM),
                (libc::F_SETFL, flags),
            ] {
                if libc::fcntl(fds::WATCH, call, value) == -1 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
}

/// Starts a helper in place of one that died, for a kernel that runs on.
pub(crate) async fn replace(machine: &Machine, port: u16, kernel: &Running) -> Result<()> {
    use crate::command_line::fds;
    let get = |number| {
        kernel.open_file(number).map_err(|error| {
            Error::failed(
                "replacing the machine's network helper, which ended",
                format!("the kernel's end of its cable cannot be had ({error}); stop and start the machine"),
            )
        })
    };
    let ends = Ends {
        cable: get(fds::HELPER)?,
        watch: get(fds::WATCH)?,
    };
    let started = start(machine, port, &ends).await;
    if of(machine)?.is_some() {
        // Another berth may have been quicker. A kernel that ended meanwhile told the helper of it before that listened.
        if Running::of(&machine.file(crate::launch::PID_FILE))?.is_none() {
            end(machine).await?;
        }
        return Ok(());
    }
    started.map_err(|failure| match failure {
        Failure::Other(error) => error,
        Failure::PortTaken => Error::failed(
            "replacing the machine's network helper, which ended",
            format!("another program listens on port {port}; stop and start the machine"),
        ),
    })
}

/// Sees to it that the helper of a kernel that has ended has ended as well.
pub(crate) async fn end(machine: &Machine) -> Result<()> {
    let Some(helper) = of(machine)? else {
        return Ok(());
    };
    match tokio::time::timeout(END, helper.ended()).await {
        Ok(ended) => ended,
        Err(_) => running::kill(&machine.file(PID_FILE), "network helper").await,
    }
}

fn arguments(name: &str, port: u16, sandbox: bool) -> Vec<String> {
    let mut args: Vec<String> = Vec::new();
    let mut add = |flag: &str, value: String| args.extend([flag.to_owned(), value]);
    add("-machine", "none".into());
    add("-display", "none".into());
    add("-name", format!("guest=network-of-{name}"));
    add("-pidfile", PID_FILE.into());
    if sandbox {
        let deny = ["obsolete", "elevateprivileges", "spawn", "resourcecontrol"];
        let deny: String = deny.iter().map(|what| format!(",{what}=deny")).collect();
        add("-sandbox", format!("on{deny}"));
    }
    add(
        "-netdev",
        format!("user,id=user0,hostname={name},hostfwd=tcp:127.0.0.1:{port}-:22"),
    );
    add("-netdev", "hubport,id=port0,hubid=0,netdev=user0".into());
    add(
        "-netdev",
        format!("dgram,id=cable0,local.type=fd,local.str={}", fds::CABLE),
    );
    add("-netdev", "hubport,id=port1,hubid=0,netdev=cable0".into());
    add("-chardev", format!("socket,id=qmp,fd={}", fds::MONITOR));
    add("-mon", "chardev=qmp,mode=control".into());
    args.extend(["-nodefaults", "-no-user-config"].map(str::to_owned));
    args
}

/// A mapping of `fd` to the number at which a program looks for it.
pub(crate) fn mapping(fd: OwnedFd, child_fd: i32) -> FdMapping {
    FdMapping {
        parent_fd: fd,
        child_fd,
    }
}
