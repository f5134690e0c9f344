//! Taking a user's own disk image into the store.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use berth_driver_api::{DiskFormat, Progress, process};
use serde_json::Value;

use crate::image::{Content, DISK, Description};
use crate::run::{command, run_quietly};
use crate::{Error, HOST_ARCH, Image, Reference, Result, Store};

impl Store {
    /// Copies the disk image at `path` into the store, with `name` for it if one is given. It boots through firmware:
    /// berth has no kernel for it. Importing the same disk again finds the first one.
    ///
    /// # Errors
    /// [`Error::NotADisk`] for what is no disk, [`Error::UnsafeDisk`] for one that refers to other files.
    pub async fn import(
        &self,
        path: &Path,
        name: Option<&Reference>,
        progress: &dyn Progress,
    ) -> Result<Image> {
        progress.phase("Importing the disk image");
        look(path)?;
        let workspace = self.workspace().await?;
        let out = workspace.folder("out")?;
        // What is checked is the copy, so that nobody can change it between the check and its use.
        let copy = workspace.folder("work")?.join("disk");
        let mut cp = command("cp")?;
        cp.args(["--sparse=always", "--reflink=auto", "--"])
            .arg(path)
            .arg(&copy);
        run_quietly("cp", cp).await?;
        let format = look(&copy).map_err(|error| about(error, path))?;
        let virtual_size = inspect(&copy, format)
            .await
            .map_err(|error| about(error, path))?;
        let disk = out.join(DISK);
        match format {
            DiskFormat::Qcow2 => fs::rename(&copy, &disk).map_err(Error::io(&disk))?,
            DiskFormat::Raw => {
                let mut convert = command("qemu-img")?;
                convert
                    .args(["convert", "-f", "raw", "-O", "qcow2"])
                    .arg(&copy)
                    .arg(&disk);
                run_quietly("qemu-img", convert).await?;
            }
        }
        progress.phase("Storing the image");
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let description = Description {
            created: jiff::Timestamp::now().to_string(),
            os: format!("imported from {file_name}"),
            recipe: None,
            recipe_hash: None,
            engine: None,
            content: Content {
                version: 1,
                arch: HOST_ARCH.to_owned(),
                format: Some(DiskFormat::Qcow2),
                virtual_size: Some(virtual_size),
                cmdline: None,
                kernel: None,
                files: Default::default(),
            },
        };
        let digest = self.adopt(&out, description).await?;
        if let Some(Reference::Name(name)) = name {
            self.name(name, &digest)?;
        }
        let reference = match name {
            Some(reference @ Reference::Name(_)) => reference.clone(),
            _ => Reference::Digest(digest),
        };
        self.get(&reference)?.ok_or_else(|| Error::UnknownImage {
            reference: reference.to_string(),
            nearest: Vec::new(),
            known: Vec::new(),
        })
    }
}

/// Reads the first bytes: no program that would follow references has seen the file before this has.
fn look(path: &Path) -> Result<DiskFormat> {
    let not = |reason: &str| Error::NotADisk {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let refers = |reason: &str| Error::UnsafeDisk {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    if !fs::metadata(path).map_err(Error::io(path))?.is_file() {
        return Err(not("it is not a regular file"));
    }
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut head = Vec::with_capacity(1024);
    file.by_ref()
        .take(1024)
        .read_to_end(&mut head)
        .map_err(Error::io(path))?;
    let number = |at: usize| -> Option<u64> {
        let bytes: [u8; 8] = head.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_be_bytes(bytes))
    };
    if head.starts_with(b"QFI\xfb") {
        let version = number(0).map(|word| word & 0xffff_ffff);
        // Byte 8: where the backing file's name is. Byte 72, from version 3 on: bit 2 is an external data file.
        return match (version, number(8), number(72)) {
            (Some(2 | 3), Some(backing), _) if backing != 0 => Err(refers("a backing file")),
            (Some(3), _, Some(features)) if features & 4 != 0 => {
                Err(refers("an external data file"))
            }
            (Some(2), Some(_), _) | (Some(3), Some(_), Some(_)) => Ok(DiskFormat::Qcow2),
            _ => Err(not("its qcow2 header is broken")),
        };
    }
    let other = [
        (&b"KDMV"[..], "VMDK"),
        (b"# Disk DescriptorFile", "VMDK"),
        (b"vhdxfile", "VHDX"),
        (b"conectix", "VHD"),
        (b"QED\0", "QED"),
        (b"\x1f\x8b", "gzip"),
        (b"\xfd7zXZ", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
    ];
    if let Some((_, kind)) = other.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(not(&format!(
            "it is a {kind} file; convert it with: qemu-img convert -O qcow2"
        )));
    }
    if head.get(64..68) == Some(b"\x7f\x10\xda\xbe") {
        return Err(not(
            "it is a VDI file; convert it with: qemu-img convert -O qcow2",
        ));
    }
    let size = fs::metadata(path).map_err(Error::io(path))?.len();
    let mut end = [0; 2];
    let signed = size > 512 && file.read_exact_at(&mut end, 510).is_ok() && end == [0x55, 0xaa];
    if !signed || size % 512 != 0 {
        return Err(not("it has neither a qcow2 header nor a partition table"));
    }
    Ok(DiskFormat::Raw)
}

/// Asks qemu-img, which reads the format that it is told and no other.
async fn inspect(path: &Path, format: DiskFormat) -> Result<u64> {
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

/// The same error about the file that the user named.
fn about(error: Error, named: &Path) -> Error {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        file
    }

    fn qcow2(backing: u64, features: u64) -> Vec<u8> {
        let mut head = vec![0; 1024];
        head[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
        head[8..16].copy_from_slice(&backing.to_be_bytes());
        head[72..80].copy_from_slice(&features.to_be_bytes());
        head
    }

    #[test]
    fn a_disk_that_would_read_the_hosts_files_is_refused() {
        assert!(matches!(
            look(file(&qcow2(0, 0)).path()),
            Ok(DiskFormat::Qcow2)
        ));
        assert!(matches!(
            look(file(&qcow2(512, 0)).path()),
            Err(Error::UnsafeDisk { .. })
        ));
        assert!(matches!(
            look(file(&qcow2(0, 4)).path()),
            Err(Error::UnsafeDisk { .. })
        ));
    }

    #[test]
    fn what_is_no_disk_is_refused() {
        let mut mbr = vec![0; 4096];
        mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert!(matches!(look(file(&mbr).path()), Ok(DiskFormat::Raw)));
        for bytes in [&b"hello"[..], b"", b"QFI\xfb", b"KDMV----", &vec![0; 4096]] {
            assert!(matches!(
                look(file(bytes).path()),
                Err(Error::NotADisk { .. })
            ));
        }
        assert!(matches!(
            look(Path::new("/dev/null")),
            Err(Error::NotADisk { .. })
        ));
        assert!(matches!(look(Path::new("/")), Err(Error::NotADisk { .. })));
    }
}
