//! One writer a machine.
//!
//! The lock is `flock` on a file that names its holder. Removing a machine removes the lock file too, so whoever
//! gets the lock checks that the file it locked is still the one under that name.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Error, Result};

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// Who holds a lock: its process and what it was doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process id.
    pub pid: i32,
    /// Such as `create web1`.
    pub doing: String,
}

impl Lock {
    /// Takes the lock at once, or tells who has it.
    ///
    /// # Errors
    /// If the lock file cannot be made.
    pub fn try_take(path: &Path, doing: &str) -> Result<std::result::Result<Lock, Option<Holder>>> {
        loop {
            let file = open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Err(read_holder(file))),
                Err(TryLockError::Error(error)) => return Err(Error::io(path)(error)),
            }
            if is_current(&file, path) {
                let mut lock = Lock {
                    file,
                    path: path.to_owned(),
                };
                if let Err(error) = lock.sign(doing) {
                    // On a full disk: a lock that nobody asked for again must not stay.
                    let _ = lock.remove();
                    return Err(error);
                }
                return Ok(Ok(lock));
            }
        }
    }

    /// Takes the lock, waiting for whoever has it, `deadline` at most; `on_wait` is told once who that is.
    ///
    /// # Errors
    /// If the lock file cannot be made. After the deadline the holder is returned instead of the lock.
    pub async fn take(
        path: &Path,
        doing: &str,
        deadline: Duration,
        on_wait: impl Fn(&Option<Holder>),
    ) -> Result<std::result::Result<Lock, Option<Holder>>> {
        let until = Instant::now() + deadline;
        let mut pause = Duration::from_millis(5);
        let mut told = false;
        loop {
            let holder = match Self::try_take(path, doing)? {
                Ok(lock) => return Ok(Ok(lock)),
                Err(holder) => holder,
            };
            if Instant::now() >= until {
                return Ok(Err(holder));
            }
            if !told && pause >= Duration::from_millis(100) {
                on_wait(&holder);
                told = true;
            }
            // flock(2) has no event to wait for that a dropped future could give up.
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    /// Removes the lock file and gives the lock up. Those who wait for it make a new one.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn remove(self) -> Result<()> {
        fs::remove_file(&self.path).map_err(Error::io(&self.path))
    }

    fn sign(&mut self, doing: &str) -> Result<()> {
        let line = format!("{} {doing}\n", std::process::id());
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .and_then(|()| self.file.write_all(line.as_bytes()))
            .map_err(Error::io(&self.path))
    }
}

/// Who holds the lock at `path` now; `None` if nobody does.
pub fn holder(path: &Path) -> Option<Holder> {
    let file = File::open(path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(read_holder(file).unwrap_or(Holder {
            pid: 0,
            doing: String::new(),
        })),
        _ => None,
    }
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(Error::io(path))
}

fn is_current(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(named)) => held.ino() == named.ino() && held.dev() == named.dev(),
        _ => false,
    }
}

fn read_holder(file: File) -> Option<Holder> {
    let mut line = String::new();
    file.take(512).read_to_string(&mut line).ok()?;
    let (pid, doing) = line.trim().split_once(' ')?;
    Some(Holder {
        pid: pid.parse().ok()?,
        doing: doing.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_writer_learns_who_is_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web1");
        let first = Lock::try_take(&path, "create web1").unwrap().unwrap();
        let refused = Lock::try_take(&path, "rm web1").unwrap().unwrap_err();
        assert_eq!(refused.unwrap().doing, "create web1");
        assert_eq!(holder(&path).unwrap().pid, std::process::id() as i32);
        drop(first);
        assert_eq!(holder(&path), None);
        assert!(Lock::try_take(&path, "rm web1").unwrap().is_ok());
    }

    #[test]
    fn a_removed_lock_is_not_shared_with_those_who_still_have_the_old_file_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web1");
        let first = Lock::try_take(&path, "rm web1").unwrap().unwrap();
        let stale = open(&path).unwrap();
        first.remove().unwrap();
        let second = Lock::try_take(&path, "create web1").unwrap().unwrap();
        assert!(stale.try_lock().is_ok(), "the old file's lock is free");
        assert!(!is_current(&stale, &path));
        drop(second);
    }
}
