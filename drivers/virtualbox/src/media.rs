//! The machine's disks, as VirtualBox is told of them.
//!
//! VirtualBox reads the image's disk where it is stored, by a description of the machine's own (a VMDK in several
//! files, "VMware Virtual Disks" 5.0) that also makes it as large as the machine's disk is to be. So no disk is
//! converted or copied, no two machines share anything that VirtualBox keeps a list of, and what the machine writes goes
//! to a differencing disk.

use std::fmt::Write as _;
use std::fs;

use berth_driver_api::{Error, Machine, Result, files};
use uuid::Uuid;

/// Names in the machine's folder: a link to the image's disk, its description, what the machine writes, and the disk
/// that it boots from with its description.
pub(crate) const BASE: &str = "base.raw";
pub(crate) const BASE_DESCRIPTION: &str = "base.vmdk";
pub(crate) const DISK: &str = "disk.vdi";
pub(crate) const BOOT: &str = "boot.raw";
pub(crate) const BOOT_DESCRIPTION: &str = "boot.vmdk";

/// All of them; the link goes, and not what it leads to.
pub(crate) const ALL: &[&str] = &[DISK, BASE_DESCRIPTION, BASE, BOOT_DESCRIPTION, BOOT];

const SECTOR: u64 = 512;

/// A part of a disk.
enum Part {
    /// A file beside the description, whole.
    File(&'static str, u64),
    /// Nothing but zeros.
    Zeros(u64),
}

/// Describes the image's disk and the boot disk, of `boot` bytes, to VirtualBox.
pub(crate) fn describe(machine: &Machine, boot: u64) -> Result<()> {
    let image = machine.image()?;
    let stored = fs::canonicalize(&image.disk).map_err(Error::io(&image.disk))?;
    let size = fs::metadata(&stored).map_err(Error::io(&stored))?.len();
    let link = machine.file(BASE);
    files::remove(&link)?;
    std::os::unix::fs::symlink(&stored, &link).map_err(Error::io(&link))?;

    // The ids come from the machine's, so that VirtualBox's list names no disk twice.
    let id = machine.id.as_u128();
    let mut parts = vec![Part::File(BASE, size)];
    let more = machine.spec.disk.saturating_sub(size) / SECTOR * SECTOR;
    if more > 0 {
        parts.push(Part::Zeros(more));
    }
    let base = description(Uuid::from_u128(id ^ 1), &parts);
    files::write(&machine.file(BASE_DESCRIPTION), base.as_bytes())?;
    let boot = description(Uuid::from_u128(id ^ 2), &[Part::File(BOOT, boot)]);
    files::write(&machine.file(BOOT_DESCRIPTION), boot.as_bytes())
}

fn description(id: Uuid, parts: &[Part]) -> String {
    let kind = match parts {
        [Part::File(..)] => "monolithicFlat",
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
}
