//! Where a disk has its EFI system partition.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use berth_driver_api::{Error, Result};

/// Larger partitions are not an image's of berth's.
const LARGEST: u64 = 512 << 20;

const SECTOR: u64 = 512;

/// Of GUID C12A7328-F81F-11D2-BA4B-00A0C93EC93B, as a GPT has it (UEFI specification 2.10, 5.3.3).
const ESP: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];

/// The partition's place and length, in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) start: u64,
    pub(crate) length: u64,
}

/// Why a disk is none of an image that berth built.
pub(crate) type Foreign = &'static str;

/// Finds it, or the reason for which there is none as berth's images have it.
///
/// # Errors
/// If the disk cannot be read.
pub(crate) fn find(disk: &Path) -> Result<std::result::Result<Partition, Foreign>> {
    let file = File::open(disk).map_err(Error::io(disk))?;
    let size = file.metadata().map_err(Error::io(disk))?.len();
    let mut header = [0; 92];
    if size < SECTOR + header.len() as u64 {
        return Ok(Err("is too small for a partition table"));
    }
    file.read_exact_at(&mut header, SECTOR)
        .map_err(Error::io(disk))?;
    if !header.starts_with(b"EFI PART") {
        return Ok(Err(
            "has no partition table of the kind GPT, which UEFI boots from",
        ));
    }
    let table = number(&header, 72, 8).saturating_mul(SECTOR);
    let (count, length) = (number(&header, 80, 4).min(128), number(&header, 84, 4));
    let end = table.saturating_add(count.saturating_mul(length));
    if !(128..=4096).contains(&length) || end > size {
        return Ok(Err("has a broken partition table"));
    }
    for index in 0..count {
        let mut entry = [0; 48];
        file.read_exact_at(&mut entry, table + index * length)
            .map_err(Error::io(disk))?;
        if entry.starts_with(&ESP) {
            return Ok(partition(&entry, size));
        }
    }
    Ok(Err("has no EFI system partition"))
}

fn partition(entry: &[u8], size: u64) -> std::result::Result<Partition, Foreign> {
    let (first, last) = (number(entry, 32, 8), number(entry, 40, 8));
    let start = first.saturating_mul(SECTOR);
    let length = (last.saturating_sub(first))
        .saturating_add(1)
        .saturating_mul(SECTOR);
    match first > 0 && length <= LARGEST && start.saturating_add(length) <= size {
        true => Ok(Partition { start, length }),
        false => Err("has an EFI system partition that is not one of berth's"),
    }
}

/// A little-endian number of `length` bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let bytes = bytes.get(at..at + length).unwrap_or_default();
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Makes a disk with a GPT on which `contents` are the EFI system partition.
#[cfg(test)]
pub(crate) fn disk_with(contents: &[u8], path: &Path) -> Partition {
    let (start, length) = (1 << 20, contents.len() as u64);
    let disk = File::create(path).unwrap();
    disk.set_len(start + length).unwrap();
    disk.write_all_at(contents, start).unwrap();
    let mut header = [0; 92];
    header[..8].copy_from_slice(b"EFI PART");
    header[72..80].copy_from_slice(&2u64.to_le_bytes());
    header[80..84].copy_from_slice(&128u32.to_le_bytes());
    header[84..88].copy_from_slice(&128u32.to_le_bytes());
    disk.write_all_at(&header, SECTOR).unwrap();
    let mut entry = [0; 128];
    entry[..16].copy_from_slice(&ESP);
    entry[32..40].copy_from_slice(&(start / SECTOR).to_le_bytes());
    entry[40..48].copy_from_slice(&((start + length) / SECTOR - 1).to_le_bytes());
    disk.write_all_at(&entry, 2 * SECTOR).unwrap();
    Partition { start, length }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let made = disk_with(&[7; 4096], &path);
        assert_eq!(find(&path).unwrap(), Ok(made));
        // Nothing that a table says leads out of the disk.
        let disk = File::options().write(true).open(&path).unwrap();
        disk.set_len((1 << 20) + 512).unwrap();
        assert!(find(&path).unwrap().is_err());
        disk.set_len(1024).unwrap();
        assert!(find(&path).unwrap().is_err());
    }

    #[test]
    fn what_has_none_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let mut broken = vec![0xff; 4096];
        broken[512..520].copy_from_slice(b"EFI PART");
        for bytes in [vec![], vec![0; 512], vec![0; 4096], broken] {
            std::fs::write(&path, bytes).unwrap();
            assert!(find(&path).unwrap().is_err());
        }
        assert!(find(&folder.path().join("none")).is_err());
    }
}
