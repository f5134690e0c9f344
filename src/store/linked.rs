//! Machines whose folder has a name of its own, and a link that has the machine's.
//!
//! Those of a pool are renamed while they run. Their processes have paths in the machine's folder, so that folder is
//! called by the machine's id for ever, and what is renamed, in one rename(2), is the link to it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::{Error, Home, Result, create_private_folder, remove_folder};

/// How the names of waiting machines begin. Labels with two hyphens in that place are nobody's names (RFC 5890, 2.3.1).
pub const WAITING: &str = "wt--";

/// The folders' folder, beside that of the links. It stays: who makes one counts on it.
const BY_ID: &str = "by-id";

/// Digits of the id that a folder is called by: a socket's path has to fit its address.
const DIGITS: usize = 12;

/// Whether a name is that of a waiting machine.
pub(super) fn waits(name: &str) -> bool {
    name.starts_with(WAITING)
}

/// The folder that `entry` is or leads to.
pub(super) fn resolve(entry: &Path) -> PathBuf {
    target(entry).unwrap_or_else(|| entry.to_owned())
}

/// Where a link of berth's leads; `None` for anything else.
fn target(entry: &Path) -> Option<PathBuf> {
    let link = fs::read_link(entry).ok()?;
    let id = link.strip_prefix("..").ok()?.strip_prefix(BY_ID).ok()?;
    let id = id.to_str()?;
    let plain = id.len() == DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let home = entry.parent()?.parent()?;
    plain.then(|| home.join(BY_ID).join(id))
}

/// Makes the link of a machine that is to have a folder by its id; the folder itself is not made.
///
/// # Errors
/// If it cannot be made, or the name is taken.
pub fn link(home: &Home, name: &str, id: Uuid) -> Result<()> {
    create_private_folder(&home.data().join(BY_ID))?;
    let entry = home.entry(name);
    let id = id.simple().to_string();
    let to = Path::new("..").join(BY_ID).join(&id[..DIGITS]);
    symlink(to, &entry).map_err(Error::io(&entry))
}

/// Gives a machine that has a link another name, in one step.
///
/// # Errors
/// If the name is taken or the link cannot be renamed.
pub fn give_name(home: &Home, from: &str, to: &str) -> Result<()> {
    let (old, new) = (home.entry(from), home.entry(to));
    if new.symlink_metadata().is_ok() {
        return Err(Error::io(new)(ErrorKind::AlreadyExists.into()));
    }
    fs::rename(&old, &new).map_err(Error::io(&old))?;
    let folder = home.machines();
    fs::File::open(&folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::io(folder))
}

/// Removes a machine's folder, or its link with the folder that it leads to. What is not there is a success.
///
/// # Errors
/// If something of it cannot be removed.
pub fn remove_entry(entry: &Path) -> Result<()> {
    let is_link = entry
        .symlink_metadata()
        .is_ok_and(|about| about.is_symlink());
    if !is_link {
        return remove_folder(entry);
    }
    if let Some(folder) = target(entry) {
        remove_folder(&folder)?;
    }
    fs::remove_file(entry).map_err(Error::io(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(0x3f2a_9c01_5d6e);

    #[test]
    fn what_runs_in_a_machine_keeps_its_paths_when_the_machine_gets_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::of_test(folder.path());
        home.prepare().unwrap();
        link(&home, "wt--ci-000001", ID).unwrap();
        let before = home.machine("wt--ci-000001");
        fs::create_dir_all(before.path()).unwrap();
        fs::create_dir(home.entry("web1")).unwrap();
        assert!(give_name(&home, "wt--ci-000001", "web1").is_err());
        give_name(&home, "wt--ci-000001", "web2").unwrap();
        assert_eq!(home.machine("web2").path(), before.path());
        assert_eq!(home.machine_names().unwrap(), ["web1", "web2"]);
        assert!(!home.has_traces("wt--ci-000001"));
        remove_entry(&home.entry("web2")).unwrap();
        assert!(!before.path().exists());
        assert!(!home.has_traces("web2"));
    }

    #[test]
    fn waiting_machines_are_not_among_the_users() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::of_test(folder.path());
        home.prepare().unwrap();
        link(&home, "wt--ci-000001", ID).unwrap();
        fs::create_dir(home.entry("web1")).unwrap();
        assert_eq!(home.machine_names().unwrap(), ["web1"]);
        assert_eq!(home.waiting_names().unwrap(), ["wt--ci-000001"]);
        assert_eq!(home.all_names().unwrap(), ["web1", "wt--ci-000001"]);
    }

    #[test]
    fn a_link_of_somebody_elses_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::of_test(folder.path());
        home.prepare().unwrap();
        let outside = folder.path().join("precious");
        fs::create_dir(&outside).unwrap();
        for leads in ["../precious", "../by-id/../precious", "../by-id/.."] {
            symlink(leads, home.entry("web1")).unwrap();
            assert_eq!(home.machine("web1").path(), home.entry("web1"));
            remove_entry(&home.entry("web1")).unwrap();
            assert!(outside.exists() && !home.has_traces("web1"));
        }
    }
}
