//! The machine's disks, as VirtualBox is told of them.
//!
//! VirtualBox reads the image's disk where it is stored, by a description of the machine's own (a VMDK in several
//! files, "VMware Virtual Disks" 5.0) that also makes it as large as the machine's disk is to be. So no disk is
//! converted or copied, no two machines share anything that VirtualBox keeps a list of, and what the machine writes goes
//! to a differencing disk.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use berth_driver_api::{Error, Machine, Result, files};
use uuid::Uuid;

/// Names in the machine's folder: a link to the image's disk, its description, what the machine writes, the disk that it
/// boots from with its description, and a link to its seed with its description. Not every machine has all of them.
pub(crate) const BASE: &str = "base.raw";
pub(crate) const BASE_DESCRIPTION: &str = "base.vmdk";
pub(crate) const DISK: &str = "disk.vdi";
pub(crate) const BOOT: &str = "boot.raw";
pub(crate) const BOOT_DESCRIPTION: &str = "boot.vmdk";
const SEED: &str = "seed.raw";
pub(crate) const SEED_DESCRIPTION: &str = "seed.vmdk";

/// All of them; a link goes, and not what it leads to.
pub(crate) const ALL: &[&str] = &[
    DISK,
    BASE_DESCRIPTION,
    BASE,
    BOOT_DESCRIPTION,
    BOOT,
    SEED_DESCRIPTION,
    SEED,
];

const SECTOR: u64 = 512;

/// A part of a disk.
enum Part {
    /// A file beside the description, whole.
    File(&'static str, u64),
    /// As that, and never written.
    Fixed(&'static str, u64),
    /// Nothing but zeros.
    Zeros(u64),
}

/// Describes to VirtualBox the image's disk, the boot disk of `boot` bytes if there is one, and the seed if the machine
/// has one. The seed may be another file at each start, of the same length.
pub(crate) fn describe(machine: &Machine, boot: Option<u64>) -> Result<()> {
    let size = link(&machine.image()?.disk, &machine.file(BASE))?;
    let mut parts = vec![Part::File(BASE, size)];
    let more = machine.spec.disk.saturating_sub(size) / SECTOR * SECTOR;
    if more > 0 {
        parts.push(Part::Zeros(more));
    }
    let mut all = vec![(BASE_DESCRIPTION, 1, parts)];
    if let Some(size) = boot {
        all.push((BOOT_DESCRIPTION, 2, vec![Part::File(BOOT, size)]));
    }
    if let Some(seed) = &machine.seed {
        let size = link(seed, &machine.file(SEED))?;
        all.push((SEED_DESCRIPTION, 3, vec![Part::Fixed(SEED, size)]));
    }
    // The ids come from the machine's, so that VirtualBox's list names no disk twice.
    for (name, number, parts) in all {
        let id = Uuid::from_u128(machine.id.as_u128() ^ number);
        let text = description(id, &parts);
        files::write(&machine.file(name), text.as_bytes())?;
    }
    Ok(())
}

/// Makes `link` lead to a file, and tells the file's size.
fn link(file: &Path, link: &Path) -> Result<u64> {
    let stored = fs::canonicalize(file).map_err(Error::io(file))?;
    let size = fs::metadata(&stored).map_err(Error::io(&stored))?.len();
    files::remove(link)?;
    std::os::unix::fs::symlink(&stored, link).map_err(Error::io(link))?;
    Ok(size)
}

fn description(id: Uuid, parts: &[Part]) -> String {
    let kind = match parts {
        [Part::File(..) | Part::Fixed(..)] => "monolithicFlat",
        _ => "custom",
    };
    let mut text = format!(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"{kind}\"\n\n\
         # Extent description\n"
    );
    for part in parts {
        let _ = match part {
            Part::File(name, bytes) => {
                writeln!(text, "RW {} FLAT \"{name}\" 0", bytes / SECTOR)
            }
            Part::Fixed(name, bytes) => {
                writeln!(text, "RDONLY {} FLAT \"{name}\" 0", bytes / SECTOR)
            }
            Part::Zeros(bytes) => writeln!(text, "RW {} ZERO", bytes / SECTOR),
        };
    }
    let none = Uuid::nil();
    let _ = write!(
        text,
        "\n# The disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.adapterType=\"ide\"\n\
         ddb.geometry.cylinders=\"16383\"\nddb.geometry.heads=\"16\"\nddb.geometry.sectors=\"63\"\n\
         ddb.uuid.image=\"{id}\"\nddb.uuid.parent=\"{none}\"\nddb.uuid.modification=\"{none}\"\n\
         ddb.uuid.parentmodification=\"{none}\"\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_disk_goes_on_with_zeros() {
        let text = description(
            Uuid::from_u128(7),
            &[Part::File(BASE, 20 << 30), Part::Zeros(1 << 30)],
        );
        assert!(
            text.contains("RW 41943040 FLAT \"base.raw\" 0\nRW 2097152 ZERO\n"),
            "{text}"
        );
        assert!(text.contains("createType=\"custom\""));
        let alone = description(Uuid::from_u128(7), &[Part::File(BOOT, 1 << 20)]);
        assert!(alone.contains("createType=\"monolithicFlat\""));
    }

    #[test]
    fn only_what_a_machine_has_is_described() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("image"), [0; 1024]).unwrap();
        fs::write(path("seed.img"), [0; 1024]).unwrap();
        let mut machine = crate::fixture::machine(folder.path(), &path("image"));
        let described = || {
            [BASE_DESCRIPTION, BOOT_DESCRIPTION, SEED_DESCRIPTION].map(|name| path(name).exists())
        };
        describe(&machine, Some(512)).unwrap();
        assert_eq!(described(), [true, true, false]);
        fs::remove_file(path(BOOT_DESCRIPTION)).unwrap();
        machine.seed = Some(path("seed.img"));
        for _ in 0..2 {
            describe(&machine, None).unwrap();
            assert_eq!(described(), [true, false, true]);
        }
        let seed = fs::canonicalize(path("seed.img")).unwrap();
        assert_eq!(fs::read_link(path(SEED)).unwrap(), seed);
    }

    #[test]
    fn a_seed_is_never_written() {
        let text = description(Uuid::from_u128(7), &[Part::Fixed(SEED, 2 << 20)]);
        assert!(text.contains("RDONLY 4096 FLAT \"seed.raw\" 0\n"), "{text}");
        assert!(text.contains("createType=\"monolithicFlat\""));
    }
}
