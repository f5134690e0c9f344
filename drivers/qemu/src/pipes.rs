//! The host's end of the guest agent's port: two named pipes, and a lock that says whose turn it is.
//!
//! QEMU holds both pipes open, so that the guest finds its port connected for as long as it lives. With a socket that
//! nobody is connected to, the agent reads the end of its port ten times a second (QEMU's qga/channel-posix.c): more
//! than half of all that an idle guest costs under emulation.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_driver_api::{Error, Result, files};
use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tokio::net::unix::pipe;

use crate::call::CallError;

/// What QEMU appends to the path that it is told (QEMU's manual, `-chardev pipe`): it reads from the first, and writes
/// to the second.
const IN: &str = "in";
const OUT: &str = "out";

/// Whoever holds this file's lock has the pipes to himself.
const LOCK: &str = "lock";

/// Both directions, until it is dropped nobody else's.
pub(crate) struct Pipes {
    pub(crate) from: pipe::Receiver,
    pub(crate) to: pipe::Sender,
    _turn: File,
}

/// Makes the pipes for a new QEMU, in place of what a dead one left.
pub(crate) fn make(path: &Path) -> Result<()> {
    remove(path)?;
    for pipe in [IN, OUT].map(|end| path.with_extension(end)) {
        mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|errno| Error::io(&pipe)(errno.into()))?;
    }
    Ok(())
}

/// Removes the pipes, and the socket that an older berth had in their place.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let ends = [IN, OUT, LOCK].map(|end| path.with_extension(end));
    ends.iter()
        .map(PathBuf::as_path)
        .chain([path])
        .try_for_each(files::remove)
}

impl Pipes {
    /// Waits for its turn, and opens the pipes. None if there are none: an older berth has started this QEMU.
    pub(crate) async fn open(path: &Path) -> Result<Option<Self>, CallError> {
        let [to, from] = [IN, OUT].map(|end| path.with_extension(end));
        if !to.try_exists()? {
            return Ok(None);
        }
        let turn = take_turn(&path.with_extension(LOCK)).await?;
        let from = pipe::OpenOptions::new().open_receiver(from)?;
        let to = pipe::OpenOptions::new()
            .open_sender(to)
            // Nobody reads: QEMU has ended.
            .map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENXIO) => CallError::Closed,
                _ => error.into(),
            })?;
        Ok(Some(Pipes {
            from,
            to,
            _turn: turn,
        }))
    }
}

async fn take_turn(lock: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(lock)?;
    let mut pause = Duration::from_millis(5);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
            // flock(2) has no event to wait for that a dropped future could give up.
            Err(TryLockError::WouldBlock) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_after_the_other_has_them_and_a_dead_qemu_is_no_agent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent");
        assert!(Pipes::open(&path).await.unwrap().is_none());
        make(&path).unwrap();
        let dead = Pipes::open(&path).await;
        assert!(matches!(dead, Err(CallError::Closed)));

        // As QEMU does.
        let qemu = ["in", "out"].map(|end| {
            let mut both = OpenOptions::new();
            both.read(true).write(true);
            both.open(path.with_extension(end)).unwrap()
        });
        let mine = Pipes::open(&path).await.unwrap();
        let soon = Duration::from_millis(50);
        assert!(
            tokio::time::timeout(soon, Pipes::open(&path))
                .await
                .is_err()
        );
        drop(mine);
        assert!(Pipes::open(&path).await.unwrap().is_some());
        drop(qemu);
        let dead = Pipes::open(&path).await;
        assert!(matches!(dead, Err(CallError::Closed)));
        remove(&path).unwrap();
        assert!(folder.path().read_dir().unwrap().next().is_none());
    }
}
