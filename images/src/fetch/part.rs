//! A download that may not be whole yet, kept in the store's `tmp` until it is or nobody comes back for it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use reqwest::header::{ETAG, LAST_MODIFIED};
use reqwest::{Response, Url};

use crate::lock::{Lock, lock, try_lock};
use crate::{Digest, Error, Result};

/// For so long a half download waits for whoever began it.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

const PREFIX: &str = "part-";

/// `part-HEX` with the bytes and `part-HEX.version` with what tells that the server still has the same file. Whoever is
/// at it holds the lock of that name in the store's `locks`.
pub(crate) struct Part {
    path: PathBuf,
    _lock: Lock,
}

impl Part {
    /// The part of what `url` leads to, in the store's folder `store`. Waits while another process is at it.
    pub(crate) async fn of(store: &Path, url: &Url) -> Result<Part> {
        Part::named(store, Digest::of(url.as_str().as_bytes()).hex()).await
    }

    /// As [`Part::of`], of what `hex` stands for.
    pub(crate) async fn named(store: &Path, hex: &str) -> Result<Part> {
        let name = format!("{PREFIX}{hex}");
        let lock = lock(&store.join("locks").join(&name)).await?;
        let path = store.join("tmp").join(name);
        Ok(Part { path, _lock: lock })
    }

    /// Whether an earlier download left something to continue.
    pub(crate) fn begun(&self) -> bool {
        self.version().is_some()
    }

    /// Moves the whole file into `folder`, which lies in the store.
    pub(crate) fn take(self, folder: &Path) -> Result<PathBuf> {
        let place = folder.join("disk");
        fs::rename(&self.path, &place).map_err(Error::io(&place))?;
        self.forget()?;
        Ok(place)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How much of it is there, in bytes.
    pub(crate) fn length(&self) -> Result<u64> {
        match fs::metadata(&self.path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(Error::io(&self.path)(error)),
        }
    }

    /// What `If-Range` takes; `None` if there is nothing to continue.
    pub(super) fn version(&self) -> Option<String> {
        let there = self.length().is_ok_and(|length| length > 0);
        there
            .then(|| fs::read_to_string(self.version_file()).ok())
            .flatten()
    }

    /// Begins anew with what the server sends now.
    pub(super) fn begin(&mut self, response: &Response) -> Result<()> {
        self.forget()?;
        let header = |name| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        // A weak tag says that two files are alike, not that they are the same (RFC 9110, 13.1.5).
        let version = header(ETAG)
            .filter(|tag| !tag.starts_with("W/"))
            .or(header(LAST_MODIFIED));
        if let Some(version) = version {
            let path = self.version_file();
            fs::write(&path, version).map_err(Error::io(&path))?;
        }
        Ok(())
    }

    /// The file, to be written on from `begin`.
    pub(crate) async fn append(&self, begin: u64) -> Result<tokio::fs::File> {
        let mut options = tokio::fs::OpenOptions::new();
        let opened = options.create(true).append(true).open(&self.path).await;
        let file = opened.map_err(Error::io(&self.path))?;
        file.set_len(begin).await.map_err(Error::io(&self.path))?;
        Ok(file)
    }

    /// Throws away what has come.
    pub(crate) fn forget(&self) -> Result<()> {
        for path in [&self.version_file(), &self.path] {
            remove(path)?;
        }
        Ok(())
    }

    fn version_file(&self) -> PathBuf {
        self.path.with_extension("version")
    }
}

/// Downloads in the store's folder `store` that nobody is at and that have waited for longer than `kept`, with their
/// sizes in bytes.
pub(crate) fn old(store: &Path, kept: Duration) -> Result<Vec<(PathBuf, u64)>> {
    let (tmp, locks) = (store.join("tmp"), store.join("locks"));
    let mut found = Vec::new();
    for entry in fs::read_dir(&tmp).map_err(Error::io(&tmp))? {
        let path = entry.map_err(Error::io(&tmp))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(PREFIX) || name.contains('.') {
            continue;
        }
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        let age = metadata
            .modified()
            .ok()
            .and_then(|at| SystemTime::now().duration_since(at).ok());
        if age.is_some_and(|age| age >= kept) && try_lock(&locks.join(&*name))?.is_some() {
            found.push((path, metadata.len()));
        }
    }
    Ok(found)
}

/// Removes downloads that broke off long ago.
pub(crate) fn clear_old(store: &Path) -> Result<()> {
    for (path, _) in old(store, KEPT)? {
        discard(store, &path)?;
    }
    Ok(())
}

/// Removes a download that [`old`] found, unless somebody is at it by now.
pub(crate) fn discard(store: &Path, path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default();
    let Some(_lock) = try_lock(&store.join("locks").join(name))? else {
        return Ok(());
    };
    for path in [path, &path.with_extension("version")] {
        remove(path)?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}
