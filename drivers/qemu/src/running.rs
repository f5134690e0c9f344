//! Which QEMU is a machine's, told by the lock that QEMU holds on its pid file for as long as it lives. The kernel
//! says who holds the lock, so a process that got a dead QEMU's number is never mistaken for it.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use berth_driver_api::{Error, Result};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A live QEMU.
pub(crate) struct Running {
    pid: i32,
    handle: OwnedFd,
}

/// The number of the process that holds the lock on `pid_file`, if one does.
pub(crate) fn holder(pid_file: &Path) -> Result<Option<i32>> {
    let file = match File::open(pid_file) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(pid_file)(error)),
    };
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_GETLK(&mut lock))
        .map_err(|errno| Error::io(pid_file)(errno.into()))?;
    if i32::from(lock.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    if lock.l_pid <= 0 {
        return Err(Error::failed(
            format!("{} is locked", pid_file.display()),
            "by a process of another container or namespace",
        ));
    }
    Ok(Some(lock.l_pid))
}

impl Running {
    /// The QEMU that holds `pid_file`, if one does.
    pub(crate) fn of(pid_file: &Path) -> Result<Option<Running>> {
        let Some(pid) = holder(pid_file)? else {
            return Ok(None);
        };
        let Some(handle) = open(pid)? else {
            return Ok(None);
        };
        // The handle is that of the holder only if the lock is still the same process's.
        let still = holder(pid_file)? == Some(pid);
        Ok(still.then_some(Running { pid, handle }))
    }

    /// Returns when the process has ended, whoever its parent is.
    pub(crate) async fn ended(&self) -> Result<()> {
        let failed = |error| Error::failed(format!("waiting for process {}", self.pid), error);
        let handle = self.handle.try_clone().map_err(failed)?;
        // SAFETY: this descriptor is owned, and neither replaced nor closed while it is registered.
        #[allow(unsafe_code)]
        let handle = unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) };
        let handle = handle.map_err(|error| failed(error.into()))?;
        handle.readable().await.map(drop).map_err(failed)
    }

    /// Ends the process without a chance to tidy up.
    pub(crate) fn kill(&self) -> Result<()> {
        // SAFETY: pidfd_send_signal(2) reads no memory of ours when its third argument, the siginfo, is null.
        #[allow(unsafe_code)]
        let outcome = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.handle.as_raw_fd(),
                libc::SIGKILL,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        match nix::errno::Errno::result(outcome) {
            Ok(_) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(errno) => Err(Error::failed(
                format!("killing process {}", self.pid),
                errno,
            )),
        }
    }
}

/// A handle of the process that has this number now.
fn open(pid: i32) -> Result<Option<OwnedFd>> {
    // SAFETY: pidfd_open(2) takes two numbers and touches no memory.
    #[allow(unsafe_code)]
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match nix::errno::Errno::result(fd) {
        // SAFETY: the call has just returned this descriptor, close-on-exec, and nobody else has it.
        #[allow(unsafe_code)]
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) })),
        Err(nix::errno::Errno::ESRCH) => Ok(None),
        Err(errno) => Err(Error::failed(format!("watching process {pid}"), errno)),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_pid_file_without_its_lock_is_nobodys() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("qemu.pid");
        assert!(Running::of(&file).unwrap().is_none());
        // Our own number, as if a dead QEMU's had been given to us.
        std::fs::write(&file, std::process::id().to_string()).unwrap();
        assert!(Running::of(&file).unwrap().is_none());
    }

    #[tokio::test]
    async fn the_end_of_a_process_that_is_killed_is_seen() {
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        let running = Running {
            pid,
            handle: open(pid).unwrap().unwrap(),
        };
        running.kill().unwrap();
        running.ended().await.unwrap();
        child.wait().unwrap();
    }
}
