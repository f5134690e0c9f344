//! Files that are there whole or not at all.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The name that a file has until it is complete.
pub fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Writes a file that only its owner may read, durably, in place of the one that was there.
///
/// # Errors
/// If it cannot be written, for example because the disk is full.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = unfinished(path);
    remove(&new)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(Error::io(&new))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(Error::io(&new))?;
    settle(&new, path)
}

/// Gives a complete file its name, durably.
///
/// # Errors
/// If it cannot be renamed or the folder cannot be made durable.
pub fn settle(new: &Path, path: &Path) -> Result<()> {
    fs::rename(new, path).map_err(Error::io(path))?;
    match path.parent() {
        Some(folder) => fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(Error::io(folder)),
        None => Ok(()),
    }
}

/// Removes a file if it is there.
///
/// # Errors
/// If it is there and cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// The last `count` lines of a file that may be long, or nothing.
pub fn last_lines(path: &Path, count: usize) -> String {
    crate::process::last_lines(&tail(path, 8 << 10), count)
}

/// The last `most` bytes of a file, or nothing.
pub fn tail(path: &Path, most: u64) -> Vec<u8> {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().unwrap_or_default()
}

/// Puts a log that has grown longer than `most` bytes aside, in place of the one that was put aside before.
///
/// # Errors
/// If it cannot be renamed.
pub fn put_long_aside(log: &Path, old: &Path, most: u64) -> Result<()> {
    match fs::metadata(log) {
        Ok(metadata) if metadata.len() > most => fs::rename(log, old).map_err(Error::io(log)),
        _ => Ok(()),
    }
}
