//! Where a guest's memory lives: in a file that the kernel makes, maps and unlinks at once. It maps it executable, so
//! the file system must not be mounted `noexec`, and should be a tmpfs, or the disk is written to all the time.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use berth_driver_api::size::mib;
use berth_driver_api::{Error, Machine, Result};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access};

/// The environment variable by which the kernel is told.
pub(crate) const VARIABLE: &str = "TMPDIR";

/// A file system that can hold a guest's memory.
pub(crate) struct Memory {
    place: PathBuf,
    /// Why better places were passed over, one sentence each.
    pub(crate) passed_over: Vec<String>,
}

impl Memory {
    /// The best place for `size` bytes; the last resort is `folder`, on a disk.
    pub(crate) fn choose(size: u64, folder: Option<&Path>) -> Result<Memory> {
        let mut passed_over = Vec::new();
        for place in places().into_iter().chain(folder.map(Path::to_owned)) {
            match suits(&place, size) {
                Ok(()) => return Ok(Memory { place, passed_over }),
                Err(reason) => passed_over.push(format!("{} {reason}", place.display())),
            }
        }
        Err(Error::failed(
            format!("finding room for a guest's memory of {}", mib(size)),
            passed_over.join("; "),
        ))
    }

    /// The file system's folder.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// The machine's own folder there, made if need be: nothing else of the file system need be open to its kernel.
    pub(crate) fn folder_for(&self, machine: &Machine) -> Result<PathBuf> {
        let folder = folder(&self.place, machine);
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(Error::io(folder)(error)),
            _ => Ok(folder),
        }
    }
}

/// Removes the machine's folders, wherever they were made. They are empty: a memory file has no name.
pub(crate) fn remove(machine: &Machine) -> Result<()> {
    for place in places().iter().chain([&machine.folder]) {
        let folder = folder(place, machine);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io(folder)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn folder(place: &Path, machine: &Machine) -> PathBuf {
    place.join(format!("berth-{}", machine.id))
}

/// In order of preference.
fn places() -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from("/dev/shm")];
    places.extend(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from));
    places.push("/tmp".into());
    places.retain(|place| place.is_absolute());
    places
}

/// Says why `place` cannot hold a guest's memory of `size` bytes.
fn suits(place: &Path, size: u64) -> Result<(), String> {
    access(place, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|errno| format!("cannot be written to: {}", errno.desc()))?;
    let about = statvfs(place).map_err(|errno| errno.desc().to_owned())?;
    if about.flags().contains(FsFlags::ST_NOEXEC) {
        return Err("is mounted noexec".into());
    }
    let free = about.blocks_available() * about.fragment_size();
    if free < size {
        return Err(format!(
            "has {} left of the {} needed",
            mib(free),
            mib(size)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_too_small_says_so() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(suits(folder.path(), 1 << 20), Ok(()));
        let reason = suits(folder.path(), u64::MAX).unwrap_err();
        assert!(reason.contains("left of the"), "{reason}");
        let reason = suits(&folder.path().join("none"), 1).unwrap_err();
        assert!(reason.contains("cannot be written to"), "{reason}");
    }

    #[test]
    fn where_nothing_suits_every_place_has_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let Err(error) = Memory::choose(u64::MAX, Some(folder.path())) else {
            panic!("there is no such memory");
        };
        let words = error.to_string();
        assert!(words.contains("/dev/shm"), "{words}");
        assert!(
            words.contains(&folder.path().display().to_string()),
            "{words}"
        );
    }
}
