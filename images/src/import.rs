//! Taking a disk image that berth did not build into the store.

use std::fs;
use std::path::{Path, PathBuf};

use berth_driver_api::{DiskFormat, Progress, process};
use serde_json::Value;

use crate::checksum::Hasher;
use crate::format::{Format, Kind, look};
use crate::image::{Content, DISK, Description, Source};
use crate::run::{command, run_quietly};
use crate::unpack::unpack;
use crate::workspace::Workspace;
use crate::{Checksum, Digest, Error, HOST_ARCH, Image, Reference, Result, Store};

/// What is known of a disk besides its file.
pub(crate) struct About {
    /// What errors call it: the file that the user named, or the address.
    pub(crate) named: PathBuf,
    /// The operating system, for people.
    pub(crate) os: String,
    /// Who is let in.
    pub(crate) user: String,
    /// Where it was downloaded from, if it was.
    pub(crate) source: Option<Source>,
}

impl Store {
    /// Copies the disk image at `path` into the store, with `name` for it if one is given. It boots through firmware:
    /// berth has no kernel for it. Importing the same disk again finds the first one. With a `digest`, the file must
    /// have it, as it is: packed if it is packed.
    ///
    /// # Errors
    /// [`Error::NotADisk`] for what is no disk, [`Error::UnsafeDisk`] for one that refers to other files,
    /// [`Error::Mismatch`] for one of another digest.
    pub async fn import(
        &self,
        path: &Path,
        digest: Option<&Checksum>,
        name: Option<&Reference>,
        progress: &dyn Progress,
    ) -> Result<Image> {
        progress.phase("Importing the disk image");
        look(path)?;
        let workspace = self.workspace().await?;
        // What is checked is the copy, so that nobody can change it between the check and its use.
        let copy = workspace.folder("work")?.join("disk");
        let mut cp = command("cp")?;
        cp.args(["--sparse=always", "--reflink=auto", "--"])
            .arg(path)
            .arg(&copy);
        run_quietly("cp", cp).await?;
        if let Some(digest) = digest {
            must_be(&copy, digest, path).await?;
        }
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let about = About {
            named: path.to_owned(),
            os: format!("imported from {file_name}"),
            user: "root".into(),
            source: None,
        };
        let digest = self.take(&workspace, &copy, about, progress).await?;
        if let Some(Reference::Name(name)) = name {
            self.name(name, &digest)?;
        }
        let reference = match name {
            Some(reference @ Reference::Name(_)) => reference.clone(),
            _ => Reference::Digest(digest),
        };
        self.get(&reference)?
            .ok_or_else(|| self.unknown_here(&reference))
    }

    /// Takes the file `disk`, which lies in the workspace or is moved away from where it is, into the store: unpacked,
    /// checked, and as qcow2.
    pub(crate) async fn take(
        &self,
        workspace: &Workspace,
        disk: &Path,
        about: About,
        progress: &dyn Progress,
    ) -> Result<Digest> {
        let named = about.named.clone();
        let mut disk = disk.to_owned();
        let kind = look(&disk).map_err(|error| rename(error, &named))?;
        let format = match kind {
            Kind::Disk(format) => format,
            Kind::Packed(packing) => {
                progress.phase("Unpacking the disk image");
                let (from, to) = (disk, workspace.folder("unpacked")?.join("disk"));
                disk = to.clone();
                tokio::task::spawn_blocking(move || unpack(packing, &from, &to))
                    .await
                    .map_err(|error| Error::tool("unpacking", error))?
                    .map_err(|error| rename(error, &named))?;
                match look(&disk).map_err(|error| rename(error, &named))? {
                    Kind::Disk(format) => format,
                    Kind::Packed(_) => {
                        return Err(Error::NotADisk {
                            path: named,
                            reason: "it is packed twice".into(),
                        });
                    }
                }
            }
        };
        let size = inspect(&disk, format)
            .await
            .map_err(|error| rename(error, &named))?;
        let out = workspace.folder("out")?;
        let stored = out.join(DISK);
        match format {
            Format::Qcow2 => fs::rename(&disk, &stored).map_err(Error::io(&stored))?,
            other => {
                progress.phase("Converting the disk image");
                let mut convert = command("qemu-img")?;
                convert
                    .args(["convert", "-f", other.name(), "-O", "qcow2"])
                    .arg(&disk)
                    .arg(&stored);
                run_quietly("qemu-img", convert).await?;
            }
        }
        progress.phase("Storing the image");
        let description = Description {
            created: jiff::Timestamp::now().to_string(),
            os: about.os,
            recipe: None,
            recipe_hash: None,
            engine: None,
            user: Some(about.user),
            source: about.source,
            pulled: None,
            content: Content {
                version: 1,
                arch: HOST_ARCH.to_owned(),
                format: Some(DiskFormat::Qcow2),
                virtual_size: Some(size),
                cmdline: None,
                kernel: None,
                files: Default::default(),
            },
        };
        self.adopt(&out, description).await
    }
}

/// Compares a whole file with what it has to be.
async fn must_be(file: &Path, expected: &Checksum, named: &Path) -> Result<()> {
    let (file, algorithm) = (file.to_owned(), expected.algorithm());
    let found = tokio::task::spawn_blocking(move || -> Result<Checksum> {
        let mut hasher = Hasher::new(algorithm);
        hasher.update_with(&file)?;
        Ok(hasher.finish())
    })
    .await
    .map_err(|error| Error::tool("checksum", error))??;
    if found == *expected {
        return Ok(());
    }
    Err(Error::Mismatch {
        what: named.display().to_string(),
        expected: expected.clone(),
        found,
    })
}

/// Asks qemu-img, which reads the format that it is told and no other.
pub(crate) async fn inspect(path: &Path, format: Format) -> Result<u64> {
    let not = |reason: &str| Error::NotADisk {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let mut info = command("qemu-img")?;
    info.args(["info", "--output=json", "-f", format.name()])
        .arg(path);
    let output = match process::output(info).await {
        Err(berth_driver_api::Error::Tool { detail, .. }) => return Err(not(&detail)),
        output => output?,
    };
    let info: Value =
        serde_json::from_slice(&output).map_err(|error| Error::tool("qemu-img", error))?;
    for key in ["backing-filename", "full-backing-filename"] {
        if !info[key].is_null() {
            return Err(Error::UnsafeDisk {
                path: path.to_owned(),
                reason: "a backing file".into(),
            });
        }
    }
    let specific = &info["format-specific"]["data"];
    if !specific["data-file"].is_null() {
        return Err(Error::UnsafeDisk {
            path: path.to_owned(),
            reason: "an external data file".into(),
        });
    }
    if info["encrypted"] == true || specific["corrupt"] == true {
        return Err(not("it is encrypted or marked as corrupt"));
    }
    match info["virtual-size"].as_u64() {
        Some(size) if size >= 1 << 20 => Ok(size),
        _ => Err(not("it is smaller than 1 MiB")),
    }
}

/// The same error about what the user named.
fn rename(error: Error, named: &Path) -> Error {
    match error {
        Error::NotADisk { reason, .. } => Error::NotADisk {
            path: named.to_owned(),
            reason,
        },
        Error::UnsafeDisk { reason, .. } => Error::UnsafeDisk {
            path: named.to_owned(),
            reason,
        },
        other => other,
    }
}
