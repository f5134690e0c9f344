//! A machine that must not outlive its supervisor (`-o supervised=true`): its kernel has a named pipe open whose other
//! end whoever watches the machine holds, and asked the system for SIGKILL when that closes.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use berth_driver_api::{Error, Machine, Result, files};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tokio::process::Command;

use crate::command_line::fds;
use crate::usermode;

/// The pipe's name in the machine's folder.
pub(crate) const FILE: &str = "leash";

/// The driver's option.
pub(crate) const OPTION: &str = "supervised";

/// The end for a kernel that is about to start, if the machine is to have one.
pub(crate) fn make(machine: &Machine) -> Result<Option<OwnedFd>> {
    if machine.spec.option(OPTION, "false") != "true" {
        return Ok(None);
    }
    let path = path(machine);
    files::remove(&path)?;
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|errno| Error::io(&path)(errno.into()))?;
    open(&path, true)
        .map(|file| Some(file.into()))
        .map_err(Error::io(&path))
}

/// Makes the program, and all others of the process group that it leads, end when the pipe closes. After descriptors are
/// mapped.
pub(crate) fn tie(command: &mut Command) {
    // SAFETY: getpid(2) and fcntl(2) are async-signal-safe and touch no memory of the parent's.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(|| usermode::signal_on_close(fds::LEASH, -libc::getpid(), libc::SIGKILL));
    }
}

/// The end for whoever watches the machine, held until it is dropped; `None` if there is no leash or no kernel.
pub(crate) fn hold(machine: &Machine) -> Option<File> {
    open(&path(machine), false).ok()
}

fn open(path: &std::path::Path, read: bool) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(read).write(!read);
    options.custom_flags(libc::O_NONBLOCK).open(path)
}

fn path(machine: &Machine) -> PathBuf {
    machine.file(FILE)
}
