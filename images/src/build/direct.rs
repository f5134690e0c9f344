//! The kernel that direct boot starts: unpacked here once, rather than by every machine at every boot.

use std::fs;
use std::path::Path;

use crate::build::modules::unpacked;
use crate::{Error, Result};

/// The file of an unpacked kernel in an image's folder, and that of one that unpacks itself.
pub(crate) const UNPACKED: &str = "vmlinux";
pub(crate) const PACKED: &str = "vmlinuz";

/// Longer is no kernel.
const SIZE_LIMIT: u64 = 256 << 20;

/// The PVH entry point: `XEN_ELFNOTE_PHYS32_ENTRY` (Xen, public/elfnote.h).
const PVH_NOTE: u32 = 18;

/// Writes the kernel `image` to `out`: as the ELF file in it where a hypervisor can start that, and as it is otherwise.
pub(super) async fn write(image: &Path, work: &Path, out: &Path) -> Result<()> {
    let size = fs::metadata(image).map_err(Error::io(image))?.len();
    if size > SIZE_LIMIT {
        let detail = format!("{} is {size} bytes long", image.display());
        return Err(Error::tool("mmdebstrap", detail));
    }
    let packed = fs::read(image).map_err(Error::io(image))?;
    if let Some((format, payload)) = payload(&packed) {
        let file = work.join("kernel").with_extension(format);
        fs::write(&file, payload).map_err(Error::io(&file))?;
        let kernel = unpacked(&file).await?;
        fs::remove_file(&file).map_err(Error::io(&file))?;
        if has_pvh_entry(&kernel) {
            let place = out.join(UNPACKED);
            return fs::write(&place, kernel).map_err(Error::io(&place));
        }
    }
    let place = out.join(PACKED);
    fs::write(&place, packed).map_err(Error::io(&place))
}

/// What a bzImage holds, and how it is compressed; `None` if it is no bzImage, or is compressed in a way whose
/// unpacking takes no time (Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length).
fn payload(image: &[u8]) -> Option<(&'static str, &[u8])> {
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let sectors = match image[0x1f1] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + number(image, 0x248)?;
    let payload = image.get(start..)?.get(..number(image, 0x24c)?)?;
    // The unpacked length is appended, where the format does not say it itself.
    let without_length = payload.len().checked_sub(4)?;
    match payload {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(("zst", &payload[..without_length])),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Some(("xz", &payload[..without_length])),
        [0x1f, 0x8b, ..] => Some(("gz", payload)),
        _ => None,
    }
}

/// True if the ELF file has a note that tells where a hypervisor enters it.
fn has_pvh_entry(elf: &[u8]) -> bool {
    let short = |at: usize| {
        Some(usize::from(u16::from_le_bytes(
            elf.get(at..at + 2)?.try_into().ok()?,
        )))
    };
    let long =
        |at: usize| usize::try_from(u64::from_le_bytes(elf.get(at..at + 8)?.try_into().ok()?)).ok();
    let notes = || -> Option<bool> {
        // ELF, 64 bits, little endian.
        if elf.get(..6)? != b"\x7fELF\x02\x01" {
            return Some(false);
        }
        let (table, size, count) = (long(32)?, short(54)?, short(56)?);
        for index in 0..count {
            let header = table.checked_add(index * size)?;
            const PT_NOTE: usize = 4;
            if number(elf, header)? == PT_NOTE {
                let start = long(header.checked_add(8)?)?;
                let segment = elf.get(start..)?.get(..long(header.checked_add(32)?)?)?;
                if notes(segment).any(|(owner, kind)| owner == b"Xen\0" && kind == PVH_NOTE) {
                    return Some(true);
                }
            }
        }
        Some(false)
    };
    notes().unwrap_or(false)
}

/// The owner and type of each note in a segment.
fn notes(mut segment: &[u8]) -> impl Iterator<Item = (&[u8], u32)> {
    std::iter::from_fn(move || {
        let (owner, description) = (number(segment, 0)?, number(segment, 4)?);
        let kind = u32::try_from(number(segment, 8)?).ok()?;
        let name = segment.get(12..)?.get(..owner)?;
        let next = 12 + owner.next_multiple_of(4) + description.next_multiple_of(4);
        segment = segment.get(next..).unwrap_or_default();
        Some((name, kind))
    })
}

/// The 32-bit little-endian number at an offset.
fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(four.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bzImage of one setup sector with `payload`.
    fn bz_image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend(payload);
        image
    }

    /// An ELF file with one segment of notes: an uninteresting one, then one of `owner` and `kind`.
    fn elf(owner: &[u8; 4], kind: u32) -> Vec<u8> {
        let mut file = vec![0; 120];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        file[64] = 4;
        file[72] = 120;
        let mut notes = Vec::new();
        for (owner, description, kind) in [(b"GNU\0", &b"abcde"[..], 3), (owner, b"12345678", kind)]
        {
            notes.extend((owner.len() as u32).to_le_bytes());
            notes.extend((description.len() as u32).to_le_bytes());
            notes.extend(kind.to_le_bytes());
            notes.extend(owner);
            notes.extend(description);
            notes.resize(notes.len().next_multiple_of(4), 0);
        }
        file[96] = notes.len() as u8;
        file.extend(notes);
        file
    }

    #[test]
    fn only_a_kernel_that_a_hypervisor_can_enter_is_one() {
        assert!(has_pvh_entry(&elf(b"Xen\0", 18)));
        assert!(!has_pvh_entry(&elf(b"Xen\0", 1)));
        assert!(!has_pvh_entry(&elf(b"Foo\0", 18)));
        let whole = elf(b"Xen\0", 18);
        for length in 0..whole.len() - 4 {
            assert!(!has_pvh_entry(&whole[..length]), "{length}");
        }
    }

    #[tokio::test]
    async fn a_kernel_is_unpacked_where_that_helps_and_kept_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let (image, work) = (folder.path().join("vmlinuz-6.12"), folder.path());
        let gzip = |content: &[u8]| {
            let file = folder.path().join("content");
            fs::write(&file, content).unwrap();
            let output = std::process::Command::new("gzip")
                .arg("-c")
                .arg(&file)
                .output();
            output.unwrap().stdout
        };
        let can = elf(b"Xen\0", 18);
        let cases = [
            (bz_image(&gzip(&can)), UNPACKED),
            (bz_image(&gzip(b"no ELF file")), PACKED),
            (bz_image(b"\x02\x21\x4c\x18 lz4"), PACKED),
            (b"MZ: another architecture's".to_vec(), PACKED),
        ];
        for (content, name) in cases {
            let out = tempfile::tempdir().unwrap();
            fs::write(&image, &content).unwrap();
            write(&image, work, out.path()).await.unwrap();
            let written = fs::read(out.path().join(name)).unwrap();
            assert_eq!(
                written,
                if name == UNPACKED {
                    can.clone()
                } else {
                    content
                }
            );
            assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
        }
    }
}
