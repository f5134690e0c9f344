//! A stored image and its description on disk.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use berth_driver_api::{BootImage, DiskFormat};
use serde::{Deserialize, Serialize};

use crate::{Digest, Error, Result};

pub(crate) const DISK: &str = "disk.qcow2";
pub(crate) const KERNEL: &str = "vmlinuz";
pub(crate) const INITRD: &str = "initrd";
pub(crate) const DESCRIPTION: &str = "image.toml";

/// The container engine that an image brings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// `docker` or `podman`.
    pub kind: String,
    /// The systemd unit that is up when the engine answers.
    pub unit: String,
    /// The package that the version is read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// The version in the image, once it is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// An image in the store.
#[derive(Debug, Clone, Serialize)]
pub struct Image {
    /// What the user calls it; the digest if it has no name.
    pub reference: String,
    /// Every name that it has in the store.
    pub names: Vec<String>,
    /// Its content.
    pub digest: Digest,
    /// The guest's architecture as `uname -m` says it.
    pub arch: String,
    /// The disk's size as the guest sees it, in bytes.
    pub virtual_size: u64,
    /// What it takes on this computer's disk, in bytes.
    pub size_on_disk: u64,
    /// When it was built or imported, RFC 3339.
    pub created: String,
    /// The recipe that it was built of; `None` if it was imported.
    pub recipe: Option<String>,
    /// The engine in it, if berth knows of one.
    pub engine: Option<Engine>,
    /// The operating system, for people.
    pub os: String,
    #[serde(skip)]
    folder: PathBuf,
    #[serde(skip)]
    content: Content,
    #[serde(skip)]
    pub(crate) recipe_hash: Option<Digest>,
}

/// What makes an image the one that it is: its digest is that of this value in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) version: u32,
    pub(crate) arch: String,
    pub(crate) format: DiskFormat,
    pub(crate) virtual_size: u64,
    pub(crate) cmdline: Option<String>,
    /// By file name.
    pub(crate) files: BTreeMap<String, Digest>,
}

/// `image.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) created: String,
    pub(crate) os: String,
    pub(crate) recipe: Option<String>,
    pub(crate) recipe_hash: Option<Digest>,
    pub(crate) engine: Option<Engine>,
    pub(crate) content: Content,
}

impl Content {
    pub(crate) fn digest(&self) -> Digest {
        // Plain data with text keys: it cannot fail to become JSON.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

impl Image {
    /// What a driver needs of the image.
    pub fn boot_image(&self) -> BootImage {
        let file = |name: &str| {
            self.content
                .files
                .contains_key(name)
                .then(|| self.folder.join(name))
        };
        BootImage {
            digest: self.digest.to_string(),
            arch: self.arch.clone(),
            disk: self.folder.join(DISK),
            format: self.content.format,
            virtual_size: self.virtual_size,
            kernel: file(KERNEL),
            initrd: file(INITRD),
            cmdline: self.content.cmdline.clone(),
            driver_kernel: None,
        }
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads a stored image's description.
    pub(crate) fn read(folder: &Path, digest: &Digest, names: Vec<String>) -> Result<Self> {
        let damaged = |detail: String| Error::Damaged {
            digest: digest.clone(),
            detail,
        };
        let path = folder.join(DESCRIPTION);
        let text = fs::read_to_string(&path)
            .map_err(|error| damaged(format!("{DESCRIPTION}: {error}")))?;
        let description: Description = toml::from_str(&text)
            .map_err(|error| damaged(format!("{DESCRIPTION}: {}", error.message())))?;
        if description.content.digest() != *digest {
            return Err(damaged(format!("{DESCRIPTION} describes another image")));
        }
        let mut size_on_disk = 0;
        for name in description.content.files.keys() {
            let metadata = fs::metadata(folder.join(name))
                .map_err(|error| damaged(format!("{name}: {error}")))?;
            size_on_disk += metadata.blocks() * 512;
        }
        Ok(Image {
            reference: names.first().cloned().unwrap_or_else(|| digest.to_string()),
            names,
            digest: digest.clone(),
            arch: description.content.arch.clone(),
            virtual_size: description.content.virtual_size,
            size_on_disk,
            created: description.created,
            recipe: description.recipe,
            engine: description.engine,
            os: description.os,
            folder: folder.to_owned(),
            recipe_hash: description.recipe_hash,
            content: description.content,
        })
    }

    /// Compares every file with its recorded digest.
    pub(crate) fn verify(&self) -> Result<()> {
        for (name, expected) in &self.content.files {
            let found = Digest::of_file(&self.folder.join(name))?;
            if found != *expected {
                return Err(Error::Damaged {
                    digest: self.digest.clone(),
                    detail: format!("{name} has the digest {found}, not {expected}"),
                });
            }
        }
        Ok(())
    }
}
