//! A stored image and its description on disk.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use berth_driver_api::{BootImage, DiskFormat, DriverKernel};
use serde::{Deserialize, Serialize};

use crate::build::direct;
use crate::{Checksum, Digest, Error, KernelInfo, Result};

/// What a stored disk can be converted to.
const CONVERTED: &[DiskFormat] = &[DiskFormat::Raw];
pub(crate) const DISK: &str = "disk.qcow2";
pub(crate) const INITRD: &str = "initrd";
pub(crate) const DESCRIPTION: &str = "image.toml";

/// An empty file whose time is when a machine was last made of the image.
const USED: &str = "used";

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

/// An image in the store: a guest's disk, or a kernel that a driver boots guests with.
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
    /// The disk's size as the guest sees it, in bytes; 0 for a kernel, which has none.
    pub virtual_size: u64,
    /// What it takes on this computer's disk, in bytes, with the formats that its disk was converted to.
    pub size_on_disk: u64,
    /// When it was built or imported, RFC 3339.
    pub created: String,
    /// The recipe that it was built of; `None` if it was imported.
    pub recipe: Option<String>,
    /// The engine in it, if berth knows of one.
    pub engine: Option<Engine>,
    /// Who is let in to machines of an image that berth did not build: cloud-init sets them up at their first boot.
    /// `None` for berth's own, which take credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where it was downloaded from, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Which registry it was pulled from, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pulled: Option<Pulled>,
    /// When a machine was last made of it, RFC 3339.
    pub used: Option<String>,
    /// The operating system, for people.
    pub os: String,
    /// What the kernel can do; `None` for a guest's disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelInfo>,
    #[serde(skip)]
    folder: PathBuf,
    #[serde(skip)]
    content: Content,
    #[serde(skip)]
    pub(crate) recipe_hash: Option<Digest>,
}

/// Where a downloaded image came from, and what vouches for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The address, without what may be secret in it.
    pub url: String,
    /// The checksum of the file as it was downloaded.
    pub checksum: Checksum,
    /// What that was compared with, for people.
    pub verified: String,
}

/// Which registry an image came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    /// The image's name there, as it was asked for.
    pub from: String,
    /// The manifest's digest.
    pub manifest: Digest,
    /// Where whoever pushed it says that it was downloaded from; `None` for what was built or imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// What makes an image the one that it is: its digest is that of this value in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) version: u32,
    pub(crate) arch: String,
    /// What only a disk has, or only a kernel, is left out of the other's digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<DiskFormat>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) virtual_size: Option<u64>,
    pub(crate) cmdline: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kernel: Option<KernelInfo>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Source>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pulled: Option<Pulled>,
    pub(crate) content: Content,
}

/// The disk's file in a format; every image is stored as qcow2.
fn disk_file(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Qcow2 => DISK,
        DiskFormat::Raw => "disk.raw",
    }
}

fn used(folder: &Path) -> Option<String> {
    let modified = fs::metadata(folder.join(USED)).ok()?.modified().ok()?;
    let at = jiff::Timestamp::try_from(modified).ok()?;
    Some(at.round(jiff::Unit::Second).unwrap_or(at).to_string())
}

impl Content {
    pub(crate) fn digest(&self) -> Digest {
        // Plain data with text keys: it cannot fail to become JSON.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

impl Image {
    /// What a driver needs of a guest's image, with the disk as it is stored.
    ///
    /// # Errors
    /// [`Error::WrongKind`] if the image is a kernel.
    pub fn boot_image(&self) -> Result<BootImage> {
        let Content {
            format: Some(format),
            virtual_size: Some(virtual_size),
            ..
        } = self.content
        else {
            return Err(self.wrong_kind("a kernel", "a guest's disk"));
        };
        let file = |name: &str| {
            self.content
                .files
                .contains_key(name)
                .then(|| self.folder.join(name))
        };
        Ok(BootImage {
            digest: self.digest.to_string(),
            arch: self.arch.clone(),
            disk: self.folder.join(DISK),
            format,
            virtual_size,
            kernel: file(direct::UNPACKED).or_else(|| file(direct::PACKED)),
            initrd: file(INITRD),
            cmdline: self.content.cmdline.clone(),
            driver_kernel: None,
        })
    }

    /// As [`Image::boot_image`], with the disk in `format`: where [`crate::Store::disk_as`] makes it, or has made it.
    ///
    /// # Errors
    /// As [`Image::boot_image`].
    pub fn boot_image_as(&self, format: DiskFormat) -> Result<BootImage> {
        let stored = self.boot_image()?;
        Ok(BootImage {
            disk: self.folder.join(disk_file(format)),
            format,
            ..stored
        })
    }

    /// What a driver needs of a kernel's image.
    ///
    /// # Errors
    /// [`Error::WrongKind`] if the image is a guest's disk.
    pub fn driver_kernel(&self) -> Result<DriverKernel> {
        match self.kernel {
            Some(_) => Ok(DriverKernel {
                digest: self.digest.to_string(),
                folder: self.folder.clone(),
            }),
            None => Err(self.wrong_kind("a guest's disk", "a kernel")),
        }
    }

    fn wrong_kind(&self, is: &'static str, wanted: &'static str) -> Error {
        Error::WrongKind {
            reference: self.reference.clone(),
            is,
            wanted,
        }
    }

    /// Whether it is a distributor's, which only cloud-init sets up: it was downloaded, here or by whoever pushed it.
    pub fn is_distributors(&self) -> bool {
        let pushed = |pulled: &Pulled| pulled.origin.is_some();
        self.source.is_some() || self.pulled.as_ref().is_some_and(pushed)
    }

    pub(crate) fn content(&self) -> &Content {
        &self.content
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
        for format in CONVERTED {
            if let Ok(metadata) = fs::metadata(folder.join(disk_file(*format))) {
                size_on_disk += metadata.blocks() * 512;
            }
        }
        let own = description.recipe.is_some() || description.content.kernel.is_some();
        Ok(Image {
            reference: names.first().cloned().unwrap_or_else(|| digest.to_string()),
            names,
            digest: digest.clone(),
            arch: description.content.arch.clone(),
            virtual_size: description.content.virtual_size.unwrap_or(0),
            size_on_disk,
            created: description.created,
            recipe: description.recipe,
            engine: description.engine,
            // Images that were imported before there were others name none.
            user: (!own).then(|| description.user.unwrap_or_else(|| "root".into())),
            source: description.source,
            pulled: description.pulled,
            used: used(folder),
            os: description.os,
            kernel: description.content.kernel.clone(),
            folder: folder.to_owned(),
            recipe_hash: description.recipe_hash,
            content: description.content,
        })
    }

    /// Notes that a machine is made of it. What cannot be noted is no reason not to make one.
    pub fn mark_used(&self) {
        let path = self.folder.join(USED);
        let now = || File::create(&path)?.set_modified(SystemTime::now());
        if let Err(error) = now() {
            tracing::debug!("{}: {error}", path.display());
        }
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
