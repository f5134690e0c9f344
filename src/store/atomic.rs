//! Writing so that a crash at any point leaves the old file or the new one.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use serde::Serialize;

use super::{Error, Result};

/// Replaces `path` with `content`: temporary file in the same folder, fsync, rename, fsync of the folder.
///
/// # Errors
/// If any of these fails; then `path` is as it was.
pub fn write_atomically(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new()
        .prefix(".berth-")
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(folder)
        .map_err(Error::io(folder))?;
    file.write_all(content).map_err(Error::io(path))?;
    file.as_file().sync_all().map_err(Error::io(path))?;
    file.persist(path)
        .map_err(|error| Error::io(path)(error.error))?;
    sync_folder(folder)
}

/// [`write_atomically`] with mode 0600.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    write_atomically(path, content, 0o600)
}

/// [`write_private`] of a value as TOML.
///
/// # Errors
/// As [`write_atomically`], and [`Error::Damaged`] if the value has no form in TOML.
pub fn write_toml(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = toml::to_string(value).map_err(|error| Error::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    write_private(path, text.as_bytes())
}

/// Makes a folder and its parents, mode 0700 from birth. One that exists is left as it is.
///
/// # Errors
/// If it cannot be made.
pub fn create_private_folder(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::io(path))
}

/// Removes a folder with all that is in it; one that is not there is a success.
///
/// # Errors
/// If something in it cannot be removed.
pub fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// Removes a file; it is no error if there is none.
///
/// # Errors
/// If it cannot be removed.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::io(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("occupied");
        fs::create_dir(&target).unwrap();
        assert!(write_private(&target, b"new").is_err());
        assert!(target.is_dir());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn private_files_are_private_even_when_they_replace_public_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, b"old").unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
