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
use crate::partition::{self, Foreign, Partition};

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

/// Makes it and tells its size in bytes; `None` for a machine that its seed alone sets up, since it is of an image that
/// berth did not build: that one boots from its own disk. A VM that runs keeps the file that it has open, and sees this
/// one when it is next powered on.
pub(crate) fn make(machine: &Machine, credentials: &[Credential]) -> Result<Option<u64>> {
    if machine.seed.is_some() && credentials.is_empty() {
        return Ok(None);
    }
    let archive = archive(credentials)?;
    let made = write(&machine.image()?.disk, &archive, &machine.file(BOOT))?;
    match made {
        Ok(length) => Ok(Some(length)),
        // A file that was imported may be an image of berth's, or not.
        Err(_) if machine.seed.is_some() => Ok(None),
        Err(reason) => Err(Error::failed(
            "the image's disk",
            format!("{reason}, and is set up by no cloud-init either"),
        )),
    }
}

/// Writes the disk, if `image` is one that berth built.
fn write(image: &Path, archive: &[u8], disk: &Path) -> Result<std::result::Result<u64, Foreign>> {
    let place = match partition::find(image)? {
        Ok(place) => place,
        Err(reason) => return Ok(Err(reason)),
    };
    let new = files::unfinished(disk);
    files::remove(&new)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(Error::io(&new))?;
    copy(image, &place, &mut file).map_err(Error::io(&new))?;
    if let Err(error) = add(&file, archive) {
        // What was not said by the operating system is about what the partition holds.
        if error.raw_os_error().is_some() {
            return Err(Error::io(&new)(error));
        }
        tracing::debug!("{}: {error}", image.display());
        files::remove(&new)?;
        return Ok(Err(
            "has an EFI system partition that is not one of berth's",
        ));
    }
    file.sync_all().map_err(Error::io(&new))?;
    files::settle(&new, disk)?;
    Ok(Ok(place.length))
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

/// What is zero stays a hole.
fn copy(disk: &Path, place: &Partition, to: &mut File) -> std::io::Result<()> {
    let length = place.length;
    let mut from = File::open(disk)?;
    from.seek(SeekFrom::Start(place.start))?;
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
    use crate::fixture;
    use fatfs::FormatVolumeOptions;
    use std::io::Cursor;
    use std::path::PathBuf;

    const LENGTH: u64 = 8 << 20;

    /// A disk with an EFI system partition, which is one as berth's images have it if there is an `entry`.
    fn disk(folder: &Path, entry: Option<&str>) -> PathBuf {
        let (path, mut esp) = (folder.join("disk"), Cursor::new(vec![0; LENGTH as usize]));
        fatfs::format_volume(&mut esp, FormatVolumeOptions::new()).unwrap();
        if let Some(text) = entry {
            let system = FileSystem::new(&mut esp, FsOptions::new()).unwrap();
            let root = system.root_dir();
            for name in ["loader", "loader/entries", "berth"] {
                root.create_dir(name).unwrap();
            }
            let mut file = root.create_file(ENTRY).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
        partition::disk_with(esp.get_ref(), &path);
        path
    }

    #[test]
    fn the_boot_disk_has_the_images_loader_and_the_machines_credentials() {
        let folder = tempfile::tempdir().unwrap();
        let text = "title Debian\nlinux /berth/vmlinuz\ninitrd /berth/initrd\noptions root=x console=ttyS0\n";
        let image = disk(folder.path(), Some(text));
        let credential = Credential {
            name: "ssh.authorized_keys.root".into(),
            value: b"ssh-ed25519 AAAA".to_vec(),
        };
        let archive = archive(&[credential]).unwrap();
        let boot = folder.path().join(BOOT);
        assert_eq!(write(&image, &archive, &boot).unwrap(), Ok(LENGTH));

        let system = FileSystem::new(File::open(&boot).unwrap(), FsOptions::new()).unwrap();
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
    fn an_image_that_is_not_berths_gets_no_boot_disk() {
        let folder = tempfile::tempdir().unwrap();
        let boot = folder.path().join(BOOT);
        let image = disk(folder.path(), None);
        assert!(write(&image, b"", &boot).unwrap().is_err());
        // No file system at all.
        partition::disk_with(&[0; 1 << 20], &image);
        assert!(write(&image, b"", &boot).unwrap().is_err());
        std::fs::write(&image, [0; 4096]).unwrap();
        assert!(write(&image, b"", &boot).unwrap().is_err());
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn an_image_of_berths_is_handed_credentials_besides_its_seed() {
        let folder = tempfile::tempdir().unwrap();
        let given = [Credential {
            name: "a".into(),
            value: Vec::new(),
        }];
        let image = disk(folder.path(), Some("options x\n"));
        let mut machine = fixture::machine(folder.path(), &image);
        assert_eq!(make(&machine, &given).unwrap(), Some(LENGTH));
        machine.seed = Some("seed".into());
        assert_eq!(make(&machine, &given).unwrap(), Some(LENGTH));
        assert_eq!(make(&machine, &[]).unwrap(), None);
        // One that is not berth's has its seed, or nothing.
        disk(folder.path(), None);
        assert_eq!(make(&machine, &given).unwrap(), None);
        machine.seed = None;
        let refused = make(&machine, &given).unwrap_err().to_string();
        assert!(refused.contains("not one of berth's"), "{refused}");
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
