//! A machine's disk: a copy-on-write file over the image's disk, which all machines read, or a copy of its own where
//! the disk is to be larger, since a copy-on-write file is as large as what it covers.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use berth_driver_api::{Error, Machine, Result, files, process};
use serde::{Deserialize, Serialize};

/// The image's disk in the machine's folder: a link, so that the machine's file names it in a way that stays true
/// when folders move.
pub(crate) const BASE: &str = "base.raw";

/// Beginning of a copy-on-write file (the kernel's `arch/um/drivers/cow_user.c`, version 3); numbers are big-endian.
const MAGIC: u32 = 0x4f4f_4f4d;
const VERSION: u32 = 3;
const SECTOR: u64 = 512;
const ALIGNMENT: u64 = 4096;
const HEADER: usize = 32 + 4096;
const MODIFIED_AT: u64 = 8;

/// How a machine's disk comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Disk {
    /// A copy-on-write file.
    Cow,
    /// A disk of its own.
    Own,
}

impl Disk {
    /// What serves for a disk of `size` bytes over an image's of `image` bytes.
    pub(crate) fn suiting(size: u64, image: u64) -> Disk {
        if size > image { Disk::Own } else { Disk::Cow }
    }

    /// The file's name in the machine's folder.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Disk::Cow => "disk.cow",
            Disk::Own => "disk.raw",
        }
    }

    /// The file.
    pub(crate) fn file(self, machine: &Machine) -> PathBuf {
        machine.file(self.name())
    }

    /// Makes it, unless it is there and complete.
    pub(crate) async fn make(self, machine: &Machine) -> Result<()> {
        let disk = self.file(machine);
        if disk.exists() {
            return Ok(());
        }
        let base = base(machine)?;
        let new = files::unfinished(&disk);
        files::remove(&new)?;
        match self {
            Disk::Cow => make_cow(&new, &base),
            Disk::Own => copy(&base, &new, machine.spec.disk).await,
        }
        .inspect_err(|_| drop(files::remove(&new)))?;
        files::settle(&new, &disk)
    }

    /// The disk's size in bytes, as the guest sees it.
    pub(crate) fn size(self, machine: &Machine) -> Result<u64> {
        let disk = self.file(machine);
        match self {
            Disk::Cow => covered_size(&disk),
            Disk::Own => fs::metadata(&disk)
                .map(|about| about.len())
                .map_err(Error::io(&disk)),
        }
    }

    /// Makes a disk of the machine's own larger.
    pub(crate) fn grow(machine: &Machine) -> Result<()> {
        let disk = Disk::Own.file(machine);
        let file = OpenOptions::new().write(true).open(&disk);
        file.and_then(|file| {
            file.set_len(machine.spec.disk)?;
            file.sync_all()
        })
        .map_err(Error::io(&disk))
    }

    /// Makes a disk of the machine's own, and a larger one, of what its copy-on-write file shows. That one stays.
    pub(crate) async fn part(machine: &Machine) -> Result<()> {
        let (base, cow) = (base(machine)?, Disk::Cow.file(machine));
        let disk = Disk::Own.file(machine);
        let new = files::unfinished(&disk);
        // Of a try that broke off, since when the machine may have run.
        files::remove(&disk)?;
        files::remove(&new)?;
        let parted = async {
            copy(&base, &new, machine.spec.disk).await?;
            let (cow, new) = (cow.clone(), new.clone());
            let written = tokio::task::spawn_blocking(move || {
                write_changes(&cow, &new).map_err(Error::io(cow))
            });
            written
                .await
                .map_err(|error| Error::failed("copying the disk", error))?
        };
        parted.await.inspect_err(|_| drop(files::remove(&new)))?;
        files::settle(&new, &disk)
    }

    /// Removes its file.
    pub(crate) fn remove(self, machine: &Machine) -> Result<()> {
        files::remove(&self.file(machine))
    }

    /// Readies it for a start: what it covers is where it looks for it, and taken for what it covered when it was
    /// made. The kernel goes by the file's time; berth by its digest, since a stored image is never written to.
    pub(crate) fn prepare(self, machine: &Machine) -> Result<()> {
        if self == Disk::Own {
            return Ok(());
        }
        let base = base(machine)?;
        let disk = self.file(machine);
        let covered = covered_size(&disk)?;
        let about = fs::metadata(&base).map_err(Error::io(&base))?;
        if covered != about.len() {
            return Err(Error::failed(
                format!("the machine's disk {}", disk.display()),
                format!(
                    "was made over an image disk of {covered} bytes, and {} has {}",
                    base.display(),
                    about.len()
                ),
            ));
        }
        link(machine, BASE, &base)?;
        let file = OpenOptions::new().write(true).open(&disk);
        file.and_then(|file| file.write_all_at(&modified(&about).to_be_bytes(), MODIFIED_AT))
            .map_err(Error::io(&disk))
    }
}

/// The image's disk.
pub(crate) fn base(machine: &Machine) -> Result<PathBuf> {
    let disk = &machine.image()?.disk;
    fs::canonicalize(disk).map_err(Error::io(disk))
}

/// Makes `name` in the machine's folder a link to `target`, whatever it was before.
pub(crate) fn link(machine: &Machine, name: &str, target: &Path) -> Result<()> {
    let link = machine.file(name);
    files::remove(&link)?;
    std::os::unix::fs::symlink(target, &link).map_err(Error::io(link))
}

fn create(path: &Path) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::io(path))
}

fn make_cow(new: &Path, base: &Path) -> Result<()> {
    let about = fs::metadata(base).map_err(Error::io(base))?;
    let mut file = create(new)?;
    file.write_all(&header(about.len(), modified(&about)))
        .and_then(|()| file.set_len(cow_size(about.len())))
        .and_then(|()| file.sync_all())
        .map_err(Error::io(new))
}

/// Its blocks are shared with the image's where the file system can do that; holes stay holes.
async fn copy(base: &Path, new: &Path, size: u64) -> Result<()> {
    create(new)?;
    let mut command = process::command("cp")?;
    command
        .args([
            "--reflink=auto",
            "--sparse=always",
            "--no-preserve=all",
            "--",
        ])
        .args([base, new]);
    process::output(command).await?;
    let file = OpenOptions::new().write(true).open(new);
    file.and_then(|file| file.set_len(size).and_then(|()| file.sync_all()))
        .map_err(Error::io(new))
}

fn modified(about: &fs::Metadata) -> u32 {
    // The kernel, too, keeps 32 bits.
    about.mtime() as u32
}

fn header(size: u64, modified: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER);
    bytes.extend_from_slice(&MAGIC.to_be_bytes());
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&modified.to_be_bytes());
    bytes.extend_from_slice(&size.to_be_bytes());
    bytes.extend_from_slice(&(SECTOR as u32).to_be_bytes());
    bytes.extend_from_slice(&(ALIGNMENT as u32).to_be_bytes());
    // The format of the bitmap: there is one.
    bytes.extend_from_slice(&0u32.to_be_bytes());
    bytes.extend_from_slice(BASE.as_bytes());
    bytes.resize(HEADER, 0);
    bytes
}

/// The length of a copy-on-write file: header, a bit for each sector, the sectors.
fn cow_size(size: u64) -> u64 {
    data_at(size) + size
}

/// Where the bits are.
const BITMAP_AT: u64 = (HEADER as u64).next_multiple_of(ALIGNMENT);

/// Where the sectors are.
fn data_at(size: u64) -> u64 {
    (BITMAP_AT + size.div_ceil(8 * SECTOR)).next_multiple_of(ALIGNMENT)
}

/// Writes what a copy-on-write file has of its own into a copy of what it covers. The kernel numbers the bits of a byte
/// from the lowest one (`arch/um/drivers/ubd_kern.c`).
fn write_changes(cow: &Path, disk: &Path) -> std::io::Result<()> {
    let size = covered_size(cow).map_err(std::io::Error::other)?;
    let cow = File::open(cow)?;
    let disk = OpenOptions::new().write(true).open(disk)?;
    let data = data_at(size);
    let mut bits = vec![0; 4096];
    let mut sectors = vec![0; 8 * SECTOR as usize];
    for at in (0..size.div_ceil(8 * SECTOR)).step_by(bits.len()) {
        let read = cow.read_at(&mut bits, BITMAP_AT + at)?;
        for (byte, bits) in (at..).zip(&bits[..read]).filter(|(_, bits)| **bits != 0) {
            // Eight sectors a byte: most changes are of whole pages.
            let from = byte * 8 * SECTOR;
            let length = (size.saturating_sub(from)).min(8 * SECTOR) as usize;
            cow.read_exact_at(&mut sectors[..length], data + from)?;
            for (nth, sector) in (0u64..).zip(sectors[..length].chunks(SECTOR as usize)) {
                if bits & (1 << nth) != 0 {
                    disk.write_all_at(sector, from + nth * SECTOR)?;
                }
            }
        }
    }
    disk.sync_all()
}

/// The size of the disk that a copy-on-write file covers, from its header.
fn covered_size(file: &Path) -> Result<u64> {
    let mut start = [0; 20];
    File::open(file)
        .and_then(|mut file| {
            file.seek(SeekFrom::Start(0))?;
            file.read_exact(&mut start)
        })
        .map_err(Error::io(file))?;
    let [m0, m1, m2, m3, _, _, _, _, _, _, _, _, size @ ..] = start;
    if [m0, m1, m2, m3] != MAGIC.to_be_bytes() {
        return Err(Error::io(file)(ErrorKind::InvalidData.into()));
    }
    Ok(u64::from_be_bytes(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cow_file_is_laid_out_as_the_kernel_does() {
        // As Linux 7.2.7 made it over a disk of 20 GiB.
        assert_eq!(cow_size(21_474_836_480), 21_480_087_552);
        let header = header(21_474_836_480, 0x6a63_1a10);
        assert_eq!(
            header[..32],
            [
                0x4f, 0x4f, 0x4f, 0x4d, 0, 0, 0, 3, 0x6a, 0x63, 0x1a, 0x10, 0, 0, 0, 5, 0, 0, 0, 0,
                0, 0, 2, 0, 0, 0, 0x10, 0, 0, 0, 0, 0
            ]
        );
        assert_eq!(&header[32..41], b"base.raw\0");
    }

    #[test]
    fn what_a_cow_file_covers_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let (base, cow) = (folder.path().join("b"), folder.path().join("c"));
        fs::write(&base, vec![1; 8192]).unwrap();
        make_cow(&cow, &base).unwrap();
        assert_eq!(covered_size(&cow).unwrap(), 8192);
        assert!(covered_size(&base).is_err());
        assert_eq!(fs::metadata(&cow).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_differs_from_the_image_is_in_the_disk_that_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let (base, cow) = (folder.path().join("b"), folder.path().join("c"));
        let size = 40_000 * SECTOR + 512;
        fs::write(&base, vec![1; size as usize]).unwrap();
        make_cow(&cow, &base).unwrap();
        let file = OpenOptions::new().write(true).open(&cow).unwrap();
        let changed: Vec<u64> = vec![0, 7, 8, 9, 39_999, 40_000];
        for sector in &changed {
            let mut bits = [0];
            let at = BITMAP_AT + sector / 8;
            File::open(&cow)
                .unwrap()
                .read_exact_at(&mut bits, at)
                .unwrap();
            file.write_all_at(&[bits[0] | 1 << (sector % 8)], at)
                .unwrap();
            file.write_all_at(&[2; 512], data_at(size) + sector * SECTOR)
                .unwrap();
        }
        // What is there without its bit does not count.
        file.write_all_at(&[3; 512], data_at(size) + 100 * SECTOR)
            .unwrap();
        write_changes(&cow, &base).unwrap();
        let disk = fs::read(&base).unwrap();
        assert_eq!(disk.len() as u64, size);
        for (at, sector) in (0..).zip(disk.chunks(SECTOR as usize)) {
            let wanted = if changed.contains(&at) { 2 } else { 1 };
            assert!(sector.iter().all(|byte| *byte == wanted), "{at}");
        }
    }

    #[tokio::test]
    async fn a_larger_disk_is_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let (base, own) = (folder.path().join("b"), folder.path().join("o"));
        fs::write(&base, b"disk").unwrap();
        copy(&base, &own, 1 << 20).await.unwrap();
        assert_eq!(fs::metadata(&own).unwrap().len(), 1 << 20);
        assert_eq!(&fs::read(&own).unwrap()[..4], b"disk");
        assert_eq!(Disk::suiting(2, 1), Disk::Own);
        assert_eq!(Disk::suiting(1, 1), Disk::Cow);
    }
}
