//! Which process is a machine's, told by the lock that it holds on its pid file for as long as it lives. The kernel
//! says who holds the lock, so a process that got a dead one's number is never mistaken for it.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::{Error, Result};

/// A live process of a machine's.
pub struct Running {
    pid: i32,
    handle: OwnedFd,
}

/// The number of the process that holds the lock on `pid_file`, if one does.
///
/// # Errors
/// If the file cannot be read, or a process that cannot be seen from here holds it.
pub fn holder(pid_file: &Path) -> Result<Option<i32>> {
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
    /// The process that holds `pid_file`, if one does.
    ///
    /// # Errors
    /// As [`holder`].
    pub fn of(pid_file: &Path) -> Result<Option<Running>> {
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

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// A handle of it (pidfd_open(2)), which never comes to mean another process.
    pub fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// A copy of one of its open files, by the number that it has there. The system allows it as it allows debugging.
    ///
    /// # Errors
    /// If it has no such file or may not be looked into.
    pub fn open_file(&self, number: i32) -> std::io::Result<OwnedFd> {
        // SAFETY: pidfd_getfd(2) takes three numbers and touches no memory.
        #[allow(unsafe_code)]
        let fd =
            unsafe { libc::syscall(libc::SYS_pidfd_getfd, self.handle.as_raw_fd(), number, 0) };
        match Errno::result(fd) {
            // SAFETY: the call has just returned this descriptor, close-on-exec, and nobody else has it.
            #[allow(unsafe_code)]
            Ok(fd) => Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) }),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Returns when the process has ended, whoever its parent is.
    ///
    /// # Errors
    /// If the system cannot watch it.
    pub async fn ended(&self) -> Result<()> {
        let failed = |error| Error::failed(format!("waiting for process {}", self.pid), error);
        let handle = self.handle.try_clone().map_err(failed)?;
        // SAFETY: this descriptor is owned, and neither replaced nor closed while it is registered.
        #[allow(unsafe_code)]
        let handle = unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) };
        let handle = handle.map_err(|error| failed(error.into()))?;
        handle.readable().await.map(drop).map_err(failed)
    }

    /// Ends the process without a chance to tidy up.
    ///
    /// # Errors
    /// If that is not allowed.
    pub fn kill(&self) -> Result<()> {
        self.signal(0).or_else(|errno| self.not_killed(errno))
    }

    /// Ends the process and all others of the process group that it leads.
    ///
    /// # Errors
    /// If that is not allowed.
    pub fn kill_group(&self) -> Result<()> {
        match self.signal(PROCESS_GROUP) {
            // Linux before 6.9 knows no such flag. While the process lives its number is no other group's.
            Err(Errno::EINVAL) => match lives(&self.handle) {
                true => killpg(Pid::from_raw(self.pid), Signal::SIGKILL),
                false => Err(Errno::ESRCH),
            },
            outcome => outcome,
        }
        .or_else(|errno| self.not_killed(errno))
    }

    fn signal(&self, flags: u32) -> Result<(), Errno> {
        // SAFETY: pidfd_send_signal(2) reads no memory of ours when its third argument, the siginfo, is null.
        #[allow(unsafe_code)]
        let outcome = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.handle.as_raw_fd(),
                libc::SIGKILL,
                std::ptr::null::<libc::siginfo_t>(),
                flags,
            )
        };
        Errno::result(outcome).map(drop)
    }

    fn not_killed(&self, errno: Errno) -> Result<()> {
        match errno {
            Errno::ESRCH => Ok(()),
            errno => Err(Error::failed(
                format!("killing process {}", self.pid),
                errno,
            )),
        }
    }

    /// As [`Running::kill`], and returns when it has ended.
    ///
    /// # Errors
    /// If it may not be killed or does not end.
    pub async fn kill_and_wait(&self, who: &str) -> Result<()> {
        self.kill()?;
        tokio::time::timeout(END, self.ended())
            .await
            .unwrap_or(Err(Error::Timeout {
                what: format!("the end of the killed {who}"),
                after: END,
            }))
    }
}

/// `PIDFD_SIGNAL_PROCESS_GROUP` of pidfd_send_signal(2).
const PROCESS_GROUP: u32 = 4;

/// True if the process has not ended: only then is its handle not readable.
fn lives(handle: &OwnedFd) -> bool {
    let mut look = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut look, PollTimeout::ZERO), Ok(0))
}

/// How long the system has to end a killed process.
const END: Duration = Duration::from_secs(10);

/// Ends the process that holds `pid_file`, if one does, and returns when it has ended. `who` it is, for the error.
///
/// # Errors
/// If it may not be killed or does not end.
pub async fn kill(pid_file: &Path, who: &str) -> Result<()> {
    match Running::of(pid_file)? {
        Some(running) => running.kill_and_wait(who).await,
        None => Ok(()),
    }
}

/// A handle of the process that has this number now.
fn open(pid: i32) -> Result<Option<OwnedFd>> {
    // SAFETY: pidfd_open(2) takes two numbers and touches no memory.
    #[allow(unsafe_code)]
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match Errno::result(fd) {
        // SAFETY: the call has just returned this descriptor, close-on-exec, and nobody else has it.
        #[allow(unsafe_code)]
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) })),
        Err(Errno::ESRCH) => Ok(None),
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
        let file = folder.path().join("vm.pid");
        assert!(Running::of(&file).unwrap().is_none());
        // Our own number, as if a dead process's had been given to us.
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
