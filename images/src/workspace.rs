//! Temporary folders of the store: cleared when their owner is done, and by the next one if it died.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::Uid;

use crate::lock::{Lock, lock, try_lock};
use crate::run::NAMESPACE;
use crate::{Error, Result};

/// A folder below the store's `tmp`, with its lock file `NAME.lock` beside it. Removed when dropped.
pub(crate) struct Workspace {
    folder: PathBuf,
    mark: PathBuf,
    _lock: Lock,
}

impl Workspace {
    /// Makes one, and clears what dead owners left.
    pub(crate) async fn new(tmp: &Path) -> Result<Self> {
        // Between making a folder and locking it, it looks like a dead one's.
        let guard = lock(&tmp.join("lock")).await?;
        sweep(tmp)?;
        let folder = tempfile::Builder::new()
            .prefix("b")
            // In a build by an ordinary user, other user numbers of a namespace pass through it.
            .permissions(fs::Permissions::from_mode(0o711))
            .tempdir_in(tmp)
            .map_err(Error::io(tmp))?
            .keep();
        let mark = folder.with_extension("lock");
        let held = lock(&mark).await?;
        drop(guard);
        Ok(Workspace {
            folder,
            mark,
            _lock: held,
        })
    }

    /// A new folder in it.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::create_dir(&path).map_err(Error::io(&path))?;
        Ok(path)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        clear(&self.folder);
        let _ = fs::remove_file(&self.mark);
    }
}

fn sweep(tmp: &Path) -> Result<()> {
    for entry in fs::read_dir(tmp).map_err(Error::io(tmp))? {
        let path = entry.map_err(Error::io(tmp))?.path();
        if !path.is_dir() {
            continue;
        }
        let mark = path.with_extension("lock");
        if let Some(_dead) = try_lock(&mark)? {
            clear(&path);
            let _ = fs::remove_file(&mark);
        }
    }
    Ok(())
}

/// Removes a folder, even if packages brought folders that nobody may write to, or an ended build by an ordinary user left
/// files that belong to other numbers of its namespace.
fn clear(folder: &Path) {
    if fs::remove_dir_all(folder).is_ok() {
        return;
    }
    open_up(folder);
    let Err(error) = fs::remove_dir_all(folder) else {
        return;
    };
    let removed = !Uid::effective().is_root()
        && Command::new("unshare")
            .args(NAMESPACE)
            .args(["--", "rm", "-rf", "--"])
            .arg(folder)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
    if !removed && folder.exists() {
        tracing::warn!("{} could not be removed: {error}", folder.display());
    }
}

fn open_up(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}
