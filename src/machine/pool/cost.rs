//! What machines cost while they only wait.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;

use crate::machine::Berth;
use crate::store;

/// What machines take of this computer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Memory in bytes: what their processes have to themselves, and their share of what they have in common (PSS,
    /// proc_pid_smaps(5)). What an owner's processes may not be asked for is not in it.
    pub memory: u64,
    /// What their files take on disk, in bytes.
    pub disk: u64,
}

/// What the machines of these names take now, their supervisors included.
pub fn cost(berth: &Berth, names: &[String]) -> Cost {
    let mut cost = Cost::default();
    let folders: Vec<_> = names.iter().map(|name| berth.home.machine(name)).collect();
    let supervisors: Vec<i32> = folders
        .iter()
        .filter_map(|folder| Some(store::holder(&folder.supervisor_lock())?.pid))
        .collect();
    for folder in &folders {
        cost.disk += size(folder.path());
    }
    if folders.is_empty() {
        return cost;
    }
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|pid| pid.parse().ok()) else {
            continue;
        };
        let works_in = |folder: &Path| works_in(&entry.path(), folder);
        if supervisors.contains(&pid) || folders.iter().any(|folder| works_in(folder.path())) {
            cost.memory += pss(&entry.path()).unwrap_or(0);
        }
    }
    cost
}

/// Whether a process is one of a machine's: it runs in the machine's folder, or was told of it.
fn works_in(process: &Path, folder: &Path) -> bool {
    if fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder)) {
        return true;
    }
    let told = fs::read(process.join("cmdline")).unwrap_or_default();
    let folder = folder.as_os_str().as_encoded_bytes();
    !folder.is_empty() && told.windows(folder.len()).any(|part| part == folder)
}

fn pss(process: &Path) -> Option<u64> {
    let text = fs::read_to_string(process.join("smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

fn size(path: &Path) -> u64 {
    let Ok(about) = path.symlink_metadata() else {
        return 0;
    };
    let inside = match about.is_dir() {
        true => fs::read_dir(path).into_iter().flatten().flatten(),
        false => return about.blocks() * 512,
    };
    about.blocks() * 512 + inside.map(|entry| size(&entry.path())).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_works_in_its_folder() {
        let own = Path::new("/proc/self");
        assert!(pss(own).unwrap() > 100 << 10);
        let folder = std::env::current_dir().unwrap();
        assert!(works_in(own, &folder));
        assert!(!works_in(own, Path::new("/no/such/folder")));
    }

    #[test]
    fn a_folder_takes_what_its_files_take() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("vm")).unwrap();
        fs::write(folder.path().join("vm/disk"), vec![1; 256 << 10]).unwrap();
        assert!(size(folder.path()) >= 256 << 10);
    }
}
