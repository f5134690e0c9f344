//! What a file that is said to be a disk is, told by its own bytes: `qemu-img` is never left to guess.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::unpack::{Packing, packing};
use crate::{Error, Result};

/// The formats that disks come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Qcow2,
    Raw,
    Vmdk,
    Vhdx,
}

/// A file as its first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Disk(Format),
    Packed(Packing),
}

impl Format {
    /// The name that `qemu-img -f` takes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Qcow2 => "qcow2",
            Format::Raw => "raw",
            Format::Vmdk => "vmdk",
            Format::Vhdx => "vhdx",
        }
    }
}

/// Reads the first bytes: no program that would follow references has seen the file before this has.
pub(crate) fn look(path: &Path) -> Result<Kind> {
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
    if let Some(packing) = packing(&head) {
        return Ok(Kind::Packed(packing));
    }
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
            (Some(2), Some(_), _) | (Some(3), Some(_), Some(_)) => Ok(Kind::Disk(Format::Qcow2)),
            _ => Err(not("its qcow2 header is broken")),
        };
    }
    if head.starts_with(b"KDMV") {
        return match vmdk(&file, &head) {
            Ok(()) => Ok(Kind::Disk(Format::Vmdk)),
            Err(Vmdk::Refers(reason)) => Err(refers(reason)),
            Err(Vmdk::Broken) => Err(not("its VMDK header is broken")),
        };
    }
    if head.starts_with(b"# Disk DescriptorFile") {
        return Err(refers("a VMDK in several files"));
    }
    if head.starts_with(b"vhdxfile") {
        return Ok(Kind::Disk(Format::Vhdx));
    }
    let other = [
        (0, &b"conectix"[..], "VHD"),
        (0, b"QED\0", "QED"),
        (64, b"\x7f\x10\xda\xbe", "VDI"),
        (257, b"ustar", "tar"),
    ];
    for (at, magic, kind) in other {
        if head.get(at..at + magic.len()) == Some(magic) {
            return Err(not(&format!(
                "it is a {kind} file; berth takes qcow2, raw, VMDK and VHDX, and these packed by gzip, xz or zstd"
            )));
        }
    }
    let size = fs::metadata(path).map_err(Error::io(path))?.len();
    let mut end = [0; 2];
    let signed = size > 512 && file.read_exact_at(&mut end, 510).is_ok() && end == [0x55, 0xaa];
    if !signed || size % 512 != 0 {
        return Err(not(
            "it has neither a disk image's header nor a partition table",
        ));
    }
    Ok(Kind::Disk(Format::Raw))
}

enum Vmdk {
    Refers(&'static str),
    Broken,
}

/// A VMDK in one file says so in its descriptor. Others name further files there, which QEMU would open.
fn vmdk(file: &File, head: &[u8]) -> std::result::Result<(), Vmdk> {
    let number = |at: usize| -> Option<u64> {
        let bytes: [u8; 8] = head.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    // The header's fields (VMware Virtual Disks 5.0): capacity, and the descriptor's place and size, in sectors. QEMU
    // looks for a parent in 20 sectors from the second one on, whatever the header says.
    let (Some(capacity), Some(1), Some(size)) = (number(12), number(28), number(36)) else {
        return Err(Vmdk::Broken);
    };
    if capacity == 0 || !(1..=128).contains(&size) {
        return Err(Vmdk::Broken);
    }
    let mut descriptor = Vec::new();
    let mut rest = file;
    rest.seek(SeekFrom::Start(512))
        .and_then(|_| rest.take(size.max(20) * 512).read_to_end(&mut descriptor))
        .map_err(|_| Vmdk::Broken)?;
    let text = String::from_utf8_lossy(&descriptor).to_ascii_lowercase();
    if text.contains("parentfilenamehint") {
        return Err(Vmdk::Refers("a parent disk"));
    }
    let alone = ["\"monolithicsparse\"", "\"streamoptimized\""]
        .iter()
        .any(|kind| text.contains(kind));
    if !alone {
        return Err(Vmdk::Refers("a VMDK in several files"));
    }
    Ok(())
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

    fn vmdk(capacity: u64, descriptor: &str) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[..4].copy_from_slice(b"KDMV");
        for (at, value) in [(12, capacity), (28, 1), (36, 2)] {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes[512..512 + descriptor.len()].copy_from_slice(descriptor.as_bytes());
        bytes
    }

    #[test]
    fn a_disk_that_would_read_the_hosts_files_is_refused() {
        assert_eq!(
            look(file(&qcow2(0, 0)).path()).unwrap(),
            Kind::Disk(Format::Qcow2)
        );
        let alone = "createType=\"monolithicSparse\"\nRW 8 SPARSE \"x.vmdk\"\n";
        assert_eq!(
            look(file(&vmdk(8, alone)).path()).unwrap(),
            Kind::Disk(Format::Vmdk)
        );
        let parent = format!("{alone}parentFileNameHint=\"/etc/shadow\"\n");
        let flat = "createType=\"monolithicFlat\"\nRW 8 FLAT \"/etc/shadow\" 0\n";
        for bytes in [
            qcow2(512, 0),
            qcow2(0, 4),
            vmdk(8, &parent),
            vmdk(8, flat),
            b"# Disk DescriptorFile\nRW 8 FLAT \"/etc/shadow\" 0\n".to_vec(),
        ] {
            assert!(matches!(
                look(file(&bytes).path()),
                Err(Error::UnsafeDisk { .. })
            ));
        }
    }

    #[test]
    fn what_is_no_disk_is_refused() {
        let mut mbr = vec![0; 4096];
        mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(look(file(&mbr).path()).unwrap(), Kind::Disk(Format::Raw));
        for bytes in [
            &b"hello"[..],
            b"",
            b"QFI\xfb",
            b"KDMV----",
            &vmdk(0, ""),
            &vec![0; 4096],
        ] {
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
