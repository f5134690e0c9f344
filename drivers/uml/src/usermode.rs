//! A QEMU that runs no machine: only its network, between the cables that are handed to it. It ends when the last
//! kernel does that it serves: it holds one end of a pipe whose other end only kernels have, and asks the system for a
//! signal when that closes.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use berth_driver_api::{Error, Result, files, process};
use command_fds::{CommandFdExt, FdMapping};
use nix::libc;
use tokio::process::Command;

/// The program. Any of its kind would do; this is the one that is installed for the driver qemu as well.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";

/// The oldest QEMU that takes a cable by its descriptor.
pub(crate) const OLDEST: (u32, u32) = (7, 2);

/// From its start to its monitor's greeting, on a busy computer.
const GREETING: Duration = Duration::from_secs(30);

/// Of fcntl(2); the crate libc does not have it for this platform.
const F_SETSIG: libc::c_int = 10;

/// The descriptors at which it finds what was opened for it; cables follow.
const WATCH: i32 = 10;
const MONITOR: i32 = 11;
const CABLES: i32 = 12;

/// What is started, and where its files go.
pub(crate) struct Network<'a> {
    /// Its name, for process lists.
    pub(crate) name: String,
    /// Where it runs.
    pub(crate) folder: &'a Path,
    /// The names of its pid file and its log in that folder.
    pub(crate) pid_file: &'static str,
    pub(crate) log: &'static str,
    /// The way out of the network: QEMU's `-netdev user`, with what follows `id=`.
    pub(crate) user: Option<String>,
}

impl Network<'_> {
    /// Starts it, joins the cables, and returns when it serves. `watch` tells when the last kernel has ended.
    pub(crate) async fn start(&self, watch: &OwnedFd, cables: &[OwnedFd]) -> Result<()> {
        match self.launch(watch, cables, true).await {
            // A QEMU that was built without libseccomp.
            Err(error) if error.to_string().contains("-sandbox") => {
                self.launch(watch, cables, false).await
            }
            outcome => outcome,
        }
    }

    async fn launch(&self, watch: &OwnedFd, cables: &[OwnedFd], sandbox: bool) -> Result<()> {
        let failed = |error: std::io::Error| Error::failed("starting the network", error);
        let (ours, monitor) = UnixStream::pair().map_err(failed)?;
        let log_file = self.folder.join(self.log);
        let log = File::create(&log_file).map_err(Error::io(&log_file))?;
        let log_too = log.try_clone().map_err(Error::io(&log_file))?;

        let mut command = process::command(PROGRAM)?;
        command
            .args(self.arguments(cables.len(), sandbox))
            .current_dir(self.folder)
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(log_too));
        let mut mappings = vec![
            mapping(watch.try_clone().map_err(failed)?, WATCH),
            mapping(monitor.into(), MONITOR),
        ];
        for (cable, fd) in cables.iter().zip(CABLES..) {
            mappings.push(mapping(cable.try_clone().map_err(failed)?, fd));
        }
        command
            .as_std_mut()
            .fd_mappings(mappings)
            .map_err(|error| Error::failed("starting the network", error))?;
        end_with_kernels(&mut command);

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
        Err(Error::Tool {
            tool: PROGRAM.into(),
            detail: if words.is_empty() { outcome } else { words },
        })
    }

    fn arguments(&self, cables: usize, sandbox: bool) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let mut add = |flag: &str, value: String| args.extend([flag.to_owned(), value]);
        add("-machine", "none".into());
        add("-display", "none".into());
        add("-name", format!("guest={}", self.name));
        add("-pidfile", self.pid_file.into());
        if sandbox {
            let deny = ["obsolete", "elevateprivileges", "spawn", "resourcecontrol"];
            let deny: String = deny.iter().map(|what| format!(",{what}=deny")).collect();
            add("-sandbox", format!("on{deny}"));
        }
        if let Some(user) = &self.user {
            add("-netdev", format!("user,id=user0,{user}"));
            add("-netdev", "hubport,id=out,hubid=0,netdev=user0".into());
        }
        for (number, fd) in (0..cables).zip(CABLES..) {
            add(
                "-netdev",
                format!("dgram,id=cable{number},local.type=fd,local.str={fd}"),
            );
            add(
                "-netdev",
                format!("hubport,id=port{number},hubid=0,netdev=cable{number}"),
            );
        }
        add("-chardev", format!("socket,id=qmp,fd={MONITOR}"));
        add("-mon", "chardev=qmp,mode=control".into());
        args.extend(["-nodefaults", "-no-user-config"].map(str::to_owned));
        args
    }
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
fn end_with_kernels(command: &mut Command) {
    // SAFETY: getpid(2) and fcntl(2) are async-signal-safe and touch no memory of the parent's.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(|| signal_on_close(WATCH, libc::getpid(), libc::SIGTERM));
    }
}

/// Asks the system for `signal` to `whom`, as fcntl(2)'s F_SETOWN names it, when the other end of the pipe `fd` closes.
/// Nothing but system calls, for use between fork and exec.
pub(crate) fn signal_on_close(fd: i32, whom: i32, signal: i32) -> std::io::Result<()> {
    let flags = libc::O_ASYNC | libc::O_NONBLOCK;
    for (call, value) in [
        (libc::F_SETOWN, whom),
        (F_SETSIG, signal),
        (libc::F_SETFL, flags),
    ] {
        // SAFETY: these calls of fcntl(2) take numbers only.
        #[allow(unsafe_code)]
        let outcome = unsafe { libc::fcntl(fd, call, value) };
        if outcome == -1 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// A mapping of `fd` to the number at which a program looks for it.
pub(crate) fn mapping(fd: OwnedFd, child_fd: i32) -> FdMapping {
    FdMapping {
        parent_fd: fd,
        child_fd,
    }
}
