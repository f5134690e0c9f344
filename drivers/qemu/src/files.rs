//! Files that are there whole or not at all.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use berth_driver_api::{Error, Result};

/// The name that a file has until it is complete.
pub(crate) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Writes a file that only its owner may read, durably, in place of the one that was there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
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
pub(crate) fn settle(new: &Path, path: &Path) -> Result<()> {
    fs::rename(new, path).map_err(Error::io(path))?;
    match path.parent() {
        Some(folder) => fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(Error::io(folder)),
        None => Ok(()),
    }
}

/// Removes a file if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// The last `count` lines of a file that may be long, or nothing.
pub(crate) fn last_lines(path: &Path, count: usize) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let tail = || -> std::io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(8 << 10)))?;
        let mut bytes = Vec::new();
        file.take(8 << 10).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    berth_driver_api::process::last_lines(&tail().unwrap_or_default(), count)
}
