//! What a template consists of, and whether it still does.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use berth_images::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Key, Result};
use crate::store;

/// The manifest's name in a template's folder.
const FILE: &str = "template.toml";

/// How the files looked when they were last compared with their digests.
const SEEN: &str = "seen.json";

/// Files are read in blocks of this many bytes.
const BLOCK: usize = 1 << 20;

/// `template.toml`, written when all else is there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// When it was made.
    pub created: Timestamp,
    /// The image's name, for people.
    pub image: String,
    /// The engine in it, if there is one, with its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// What it depends on.
    pub key: Key,
    /// Its files by name.
    files: BTreeMap<String, Content>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    size: u64,
    digest: String,
}

/// What tells that a file may have been changed, without reading it: whatever writes it changes its times.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Look {
    size: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Why a template is not to be used.
#[derive(Debug, thiserror::Error)]
#[error("its file {file} is not what it was: {reason}")]
pub struct Damage {
    /// Which of its files.
    pub file: String,
    /// In what.
    pub reason: String,
}

impl Manifest {
    /// Takes the files of `folder` down.
    ///
    /// # Errors
    /// If one cannot be read.
    pub(super) fn write(
        folder: &Path,
        key: Key,
        image: &str,
        engine: Option<String>,
    ) -> Result<()> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(store::Error::io(folder))? {
            let entry = entry.map_err(store::Error::io(folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != super::build::KEY {
                files.insert(name, content(&entry.path())?);
            }
        }
        let manifest = Manifest {
            created: Timestamp::now(),
            image: image.to_owned(),
            engine,
            key,
            files,
        };
        manifest.see(folder)?;
        let path = folder.join(FILE);
        Ok(store::write_toml(&path, &manifest)?)
    }

    /// The manifest in `folder`; `None` if there is none.
    ///
    /// # Errors
    /// If it is damaged.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        let Some(table) = store::read_table(&path)? else {
            return Ok(None);
        };
        let manifest = Manifest::deserialize(toml::Value::Table(table));
        let manifest = manifest.map_err(|error| store::Error::Damaged {
            path,
            reason: error.to_string().trim().replace('\n', " "),
        })?;
        Ok(Some(manifest))
    }

    /// Whether the files are what they were. They are read only where something may have written them since they were
    /// read last: a gigabyte takes a second.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub(super) fn verify(&self, folder: &Path) -> std::result::Result<(), Damage> {
        let seen = fs::read(folder.join(SEEN)).unwrap_or_default();
        let seen: BTreeMap<String, Look> = serde_json::from_slice(&seen).unwrap_or_default();
        let mut changed = false;
        for (name, expected) in &self.files {
            let damage = |reason: String| Damage {
                file: name.clone(),
                reason,
            };
            let path = folder.join(name);
            let now = look(&path).map_err(|error| damage(error.to_string()))?;
            if now.size != expected.size {
                let (is, was) = (now.size, expected.size);
                return Err(damage(format!("it has {is} bytes, and had {was}")));
            }
            if seen.get(name) == Some(&now) {
                continue;
            }
            changed = true;
            let found = content(&path).map_err(|error| damage(error.to_string()))?;
            if found != *expected {
                return Err(damage("its digest is another".into()));
            }
        }
        if changed {
            // Then they are read again next time.
            let _ = self.see(folder);
        }
        Ok(())
    }

    fn see(&self, folder: &Path) -> Result<()> {
        let mut seen = BTreeMap::new();
        for name in self.files.keys() {
            let path = folder.join(name);
            seen.insert(name, look(&path).map_err(store::Error::io(&path))?);
        }
        let text = serde_json::to_vec(&seen).unwrap_or_default();
        Ok(store::write_private(&folder.join(SEEN), &text)?)
    }
}

fn look(path: &Path) -> std::io::Result<Look> {
    let meta = fs::symlink_metadata(path)?;
    Ok(Look {
        size: meta.size(),
        inode: meta.ino(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    })
}

/// A file's size and digest. Of blocks of zeros, most of a guest's memory, only the place counts.
fn content(path: &Path) -> Result<Content> {
    let zeros = vec![0; BLOCK];
    let mut block = vec![0; BLOCK];
    let mut file = File::open(path).map_err(store::Error::io(path))?;
    let mut hash = Sha256::new();
    let mut size = 0u64;
    loop {
        let mut filled = 0;
        while filled < BLOCK {
            match file
                .read(&mut block[filled..])
                .map_err(store::Error::io(path))?
            {
                0 => break,
                count => filled += count,
            }
        }
        if block[..filled] != zeros[..filled] {
            hash.update(size.to_le_bytes());
            hash.update(&block[..filled]);
        }
        size += filled as u64;
        if filled < BLOCK {
            hash.update(size.to_le_bytes());
            let digest = Digest::of(&hash.finalize()).to_string();
            return Ok(Content { size, digest });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> (tempfile::TempDir, Manifest) {
        let folder = tempfile::tempdir().unwrap();
        let mut memory = vec![0; 3 * BLOCK + 5];
        memory[BLOCK + 7] = 1;
        fs::write(folder.path().join("memory"), memory).unwrap();
        fs::write(folder.path().join("devices"), "state").unwrap();
        let key = Key {
            driver: "qemu".into(),
            image: "sha256:1".into(),
            cpus: 1,
            memory: 1,
            disk: 1,
            host: BTreeMap::new(),
        };
        Manifest::write(folder.path(), key, "debian-13", None).unwrap();
        let manifest = Manifest::read(folder.path()).unwrap().unwrap();
        (folder, manifest)
    }

    fn refused(folder: &Path, manifest: &Manifest) -> String {
        manifest.verify(folder).unwrap_err().to_string()
    }

    #[test]
    fn files_that_were_cut_flipped_moved_or_lost_are_found() {
        let (folder, manifest) = template();
        let folder = folder.path();
        manifest.verify(folder).unwrap();
        let memory = folder.join("memory");
        let good = fs::read(&memory).unwrap();

        let mut flipped = good.clone();
        flipped[2 * BLOCK] ^= 1;
        fs::write(&memory, &flipped).unwrap();
        assert!(refused(folder, &manifest).contains("digest"));

        // The same content, a block further on.
        let mut moved = vec![0; good.len()];
        moved[2 * BLOCK + 7] = 1;
        fs::write(&memory, &moved).unwrap();
        assert!(refused(folder, &manifest).contains("digest"));

        fs::write(&memory, &good[..good.len() - 1]).unwrap();
        assert!(refused(folder, &manifest).contains("bytes"));

        fs::write(&memory, &good).unwrap();
        manifest.verify(folder).unwrap();
        fs::remove_file(&memory).unwrap();
        assert!(refused(folder, &manifest).contains("memory"));
    }

    #[test]
    fn what_is_as_it_was_seen_is_not_read_again() {
        let (folder, mut manifest) = template();
        // No file has this digest: who does not read does not notice.
        let content = manifest.files.get_mut("memory").unwrap();
        content.digest = Digest::of(b"another").to_string();
        manifest.verify(folder.path()).unwrap();
        fs::remove_file(folder.path().join(SEEN)).unwrap();
        assert!(refused(folder.path(), &manifest).contains("digest"));
    }
}
