//! Locks between berth processes, without blocking the runtime.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use tokio::sync::oneshot;

use crate::{Error, Result};

/// Held until dropped; the system drops it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(Error::io(path))
}

/// The lock, or `None` if another holds it.
pub(crate) fn try_lock(path: &Path) -> Result<Option<Lock>> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(Error::io(path)(error)),
    }
}

/// Waits for the lock. A thread of its own waits, not one of the runtime's: those hold up the end of the program, and
/// the wait cannot be interrupted.
pub(crate) async fn lock(path: &Path) -> Result<Lock> {
    if let Some(lock) = try_lock(path)? {
        return Ok(lock);
    }
    let file = open(path)?;
    let (send, receive) = oneshot::channel();
    std::thread::spawn(move || {
        let outcome = file.lock().map(|()| Lock { _file: file });
        // If nobody waits any more, the lock is dropped here.
        let _ = send.send(outcome);
    });
    match receive.await {
        Ok(outcome) => outcome.map_err(Error::io(path)),
        Err(_) => Err(Error::tool("lock", "the thread that waited for it ended")),
    }
}
