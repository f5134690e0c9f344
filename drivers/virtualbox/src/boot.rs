//! The disk that a machine boots from: a copy of the image's EFI system partition, with the machine's credentials in a
//! further initrd.
//!
//! VirtualBox hands a guest nothing that is secret: what its SMBIOS tables say is limited to two short texts, is set by
//! an argument of VBoxManage and is kept in the VM's settings. A file system in a file that only the user may read does.
//! A guest boots the image's kernel whatever it installs itself, as under the other drivers.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use berth_driver_api::cpio::Archive;
use berth_driver_api::{Credential, Error, Machine, Result, files};
use fatfs::{FileSystem, FsOptions};

use crate::media::BOOT;

/// What systemd-boot starts, and where the credentials go, on the EFI system partition.
const ENTRY: &str = "loader/entries/berth.conf";
const INITRD: &str = "berth/credentials";

/// The initrd's first program, from its root.
const FIRST: &str = "berth-credentials";

/// Puts the credentials where systemd takes them from (as those of a container's manager) and goes on with the image's
/// own initrd. That one mounts a new /run; all of /dev are one and the same.
const SCRIPT: &str = "#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
export CREDENTIALS_DIRECTORY=/dev/.berth-credentials
umask 077
/bin/busybox mkdir -p \"$CREDENTIALS_DIRECTORY\"
umask 377
/bin/busybox cp /credentials/* \"$CREDENTIALS_DIRECTORY/\"
umask 022
/bin/busybox umount /dev
exec /init
";

/// Larger partitions are not an image's of berth's.
const LARGEST: u64 = 512 << 20;

const SECTOR: u64 = 512;

/// Of GUID C12A7328-F81F-11D2-BA4B-00A0C93EC93B, as a GPT has it (UEFI specification 2.10, 5.3.3).
const ESP: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];

/// Makes it and tells its size in bytes. A VM that runs keeps the file that it has open, and sees this one when it is next
/// powered on.
pub(crate) fn make(machine: &Machine, credentials: &[Credential]) -> Result<u64> {
    let disk = machine.file(BOOT);
    let archive = archive(credentials)?;
    let image = &machine.image()?.disk;
    let (start, length) = find_partition(image)?;
    let new = files::unfinished(&disk);
    files::remove(&new)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(Error::io(&new))?;
    copy(image, start, length, &mut file).map_err(Error::io(&new))?;
    add(&file, &archive).map_err(|error| {
        Error::failed(
            "the image's EFI system partition",
            format!("is not one that berth made, which this driver needs: {error}"),
        )
    })?;
    file.sync_all().map_err(Error::io(&new))?;
    files::settle(&new, &disk)?;
    Ok(length)
}

fn archive(credentials: &[Credential]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.entry(FIRST, 0o100_755, SCRIPT.as_bytes());
    archive.entry("credentials", 0o040_700, b"");
    for credential in credentials {
        let name = berth_driver_api::credentials::checked(&credential.name)?;
        archive.entry(&format!("credentials/{name}"), 0o100_400, &credential.value);
    }
    Ok(archive.end())
}

/// The EFI system partition's place and length, in bytes.
fn find_partition(disk: &Path) -> Result<(u64, u64)> {
    let file = File::open(disk).map_err(Error::io(disk))?;
    let mut header = [0; 92];
    file.read_exact_at(&mut header, SECTOR)
        .map_err(Error::io(disk))?;
    let none = |reason: &str| Error::failed("the image's disk", reason);
    if !header.starts_with(b"EFI PART") {
        return Err(none(
            "has no partition table of the kind GPT, which UEFI boots from",
        ));
    }
    let table = number(&header, 72, 8).saturating_mul(SECTOR);
    let (count, size) = (number(&header, 80, 4).min(128), number(&header, 84, 4));
    if !(128..=4096).contains(&size) {
        return Err(none("has a broken partition table"));
    }
    for index in 0..count {
        let mut entry = [0; 48];
        file.read_exact_at(&mut entry, table.saturating_add(index * size))
            .map_err(Error::io(disk))?;
        if entry.starts_with(&ESP) {
            let (first, last) = (number(&entry, 32, 8), number(&entry, 40, 8));
            let length = (last.saturating_sub(first))
                .saturating_add(1)
                .saturating_mul(SECTOR);
            return match length <= LARGEST && first > 0 {
                true => Ok((first.saturating_mul(SECTOR), length)),
                false => Err(none(
                    "has an EFI system partition that is not one of berth's",
                )),
            };
        }
    }
    Err(none("has no EFI system partition"))
}

/// A little-endian number of `length` bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let bytes = bytes.get(at..at + length).unwrap_or_default();
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// What is zero stays a hole.
fn copy(disk: &Path, start: u64, length: u64, to: &mut File) -> std::io::Result<()> {
    let mut from = File::open(disk)?;
    from.seek(SeekFrom::Start(start))?;
    to.set_len(length)?;
    let mut chunk = vec![0; 1 << 16];
    let mut done = 0;
    while done < length {
        let now = chunk
            .len()
            .min(usize::try_from(length - done).unwrap_or(usize::MAX));
        let part = &mut chunk[..now];
        from.read_exact(part)?;
        if part.iter().any(|byte| *byte != 0) {
            to.write_all_at(part, done)?;
        }
        done += now as u64;
    }
    Ok(())
}

/// Has the boot loader load the archive after the image's own initrd, and the kernel begin with what is in it.
fn add(file: &File, archive: &[u8]) -> std::io::Result<()> {
    let system = FileSystem::new(file, FsOptions::new())?;
    {
        let root = system.root_dir();
        let mut entry = String::new();
        root.open_file(ENTRY)?
            .take(64 << 10)
            .read_to_string(&mut entry)?;
        let mut initrd = root.create_file(INITRD)?;
        initrd.truncate()?;
        initrd.write_all(archive)?;
        initrd.flush()?;
        let mut file = root.open_file(ENTRY)?;
        file.truncate()?;
        file.write_all(extended(&entry).as_bytes())?;
        file.flush()?;
    }
    system.unmount()
}

fn extended(entry: &str) -> String {
    let mut text = String::new();
    for line in entry.lines() {
        text.push_str(line);
        if line.starts_with("options ") {
            text.push_str(&format!(" rdinit=/{FIRST}"));
        }
        text.push('\n');
        if line.starts_with("initrd ") {
            text.push_str(&format!("initrd /{INITRD}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use fatfs::FormatVolumeOptions;

    const START: u64 = 1 << 20;
    const LENGTH: u64 = 8 << 20;

    /// A disk as berth's images have it: a GPT and, first on it, the EFI system partition.
    fn disk(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("disk");
        let esp = folder.join("esp");
        let open = |path: &Path| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .unwrap()
        };
        let file = open(&esp);
        file.set_len(LENGTH).unwrap();
        fatfs::format_volume(&file, FormatVolumeOptions::new()).unwrap();
        {
            let system = FileSystem::new(&file, FsOptions::new()).unwrap();
            let root = system.root_dir();
            for name in ["loader", "loader/entries", "berth"] {
                root.create_dir(name).unwrap();
            }
            let text = b"title Debian\nlinux /berth/vmlinuz\ninitrd /berth/initrd\noptions root=x console=ttyS0\n";
            root.create_file(ENTRY).unwrap().write_all(text).unwrap();
        }
        let disk = open(&path);
        disk.set_len(START + LENGTH).unwrap();
        disk.write_all_at(&std::fs::read(&esp).unwrap(), START)
            .unwrap();
        let mut header = [0; 92];
        header[..8].copy_from_slice(b"EFI PART");
        header[72..80].copy_from_slice(&2u64.to_le_bytes());
        header[80..84].copy_from_slice(&128u32.to_le_bytes());
        header[84..88].copy_from_slice(&128u32.to_le_bytes());
        disk.write_all_at(&header, SECTOR).unwrap();
        let mut entry = [0; 128];
        entry[..16].copy_from_slice(&ESP);
        entry[32..40].copy_from_slice(&(START / SECTOR).to_le_bytes());
        entry[40..48].copy_from_slice(&((START + LENGTH) / SECTOR - 1).to_le_bytes());
        disk.write_all_at(&entry, 2 * SECTOR).unwrap();
        path
    }

    #[test]
    fn the_boot_disk_has_the_images_loader_and_the_machines_credentials() {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk(folder.path());
        assert_eq!(find_partition(&disk).unwrap(), (START, LENGTH));
        let credential = Credential {
            name: "ssh.authorized_keys.root".into(),
            value: b"ssh-ed25519 AAAA".to_vec(),
        };
        let archive = archive(&[credential]).unwrap();
        let mut boot = tempfile::tempfile().unwrap();
        copy(&disk, START, LENGTH, &mut boot).unwrap();
        add(&boot, &archive).unwrap();

        boot.rewind().unwrap();
        let system = FileSystem::new(&boot, FsOptions::new()).unwrap();
        let read = |name: &str| {
            let mut bytes = Vec::new();
            let mut file = system.root_dir().open_file(name).unwrap();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(read(INITRD), archive);
        assert_eq!(
            String::from_utf8(read(ENTRY)).unwrap(),
            "title Debian\nlinux /berth/vmlinuz\ninitrd /berth/initrd\ninitrd /berth/credentials\n\
             options root=x console=ttyS0 rdinit=/berth-credentials\n"
        );
    }

    #[test]
    fn a_disk_that_is_no_image_of_berths_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        for bytes in [vec![0; 4096], {
            let mut broken = vec![0xff; 4096];
            broken[512..520].copy_from_slice(b"EFI PART");
            broken
        }] {
            std::fs::write(&path, bytes).unwrap();
            assert!(find_partition(&path).is_err());
        }
        let empty = tempfile::tempfile().unwrap();
        empty.set_len(1 << 20).unwrap();
        assert!(add(&empty, b"").is_err());
    }

    #[test]
    fn a_credentials_name_is_never_a_path() {
        let bad = Credential {
            name: "../init".into(),
            value: Vec::new(),
        };
        assert!(archive(&[bad]).is_err());
    }
}
