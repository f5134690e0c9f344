//! The lock that podman takes while it rewrites its file: fcntl(2) on a file beside it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::context::Result;
use crate::store;

/// Podman holds it for a moment.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);

/// Held until it is dropped. Such a lock is the whole process's, hence the mutex.
pub(super) struct Lock {
    _file: File,
    _threads: MutexGuard<'static, ()>,
}

impl Lock {
    /// Takes the lock of the file at `path`.
    ///
    /// # Errors
    /// If podman does not give it up.
    pub(super) fn take(path: &Path) -> Result<Self> {
        static THREADS: Mutex<()> = Mutex::new(());
        let threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(0o644)
            .open(&path)
            .map_err(store::Error::io(&path))?;
        let whole_file = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        let until = Instant::now() + LOCK_DEADLINE;
        loop {
            match fcntl(&file, FcntlArg::F_SETLK(&whole_file)) {
                Ok(_) => break,
                // Waiting for it has no end of its own, and podman holds it for a moment only.
                Err(Errno::EACCES | Errno::EAGAIN | Errno::EINTR) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(store::Error::io(&path)(error.into()).into()),
            }
        }
        Ok(Lock {
            _file: file,
            _threads: threads,
        })
    }
}
