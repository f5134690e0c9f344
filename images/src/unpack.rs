//! Packed disks: gzip, xz and zstd, unpacked within bounds and without writing zeros.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

use crate::{Error, Result};

/// Disks compress well, but not like this: one byte of a bomb stands for more.
const MOST_PER_BYTE: u64 = 1000;

/// Bytes that any file may unpack to.
const ALWAYS: u64 = 64 << 20;

/// Bytes that no file may unpack to.
const MOST: u64 = 256 << 30;

/// Bytes that an xz file may want for its dictionary; `xz -9` writes 64 MiB.
const LARGEST_DICTIONARY: u64 = 192 << 20;

/// What is written, or passed over when it is all zeros, at a time.
const BLOCK: usize = 64 << 10;

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Xz,
    Zstd,
}

/// How the file that begins with `head` is packed, if it is.
pub(crate) fn packing(head: &[u8]) -> Option<Packing> {
    let known = [
        (&b"\x1f\x8b\x08"[..], Packing::Gzip),
        (b"\xfd7zXZ\0", Packing::Xz),
        (b"\x28\xb5\x2f\xfd", Packing::Zstd),
    ];
    let found = known.iter().find(|(magic, _)| head.starts_with(magic));
    found.map(|(_, packing)| *packing)
}

/// Unpacks `from` to the new file `to`; zeros become holes. Blocks the thread.
///
/// # Errors
/// [`Error::NotADisk`] about `from` if it is broken or unpacks to more than a disk does.
pub(crate) fn unpack(packing: Packing, from: &Path, to: &Path) -> Result<()> {
    let file = File::open(from).map_err(Error::io(from))?;
    let packed = file.metadata().map_err(Error::io(from))?.len();
    let most = (packed.saturating_mul(MOST_PER_BYTE) + ALWAYS).min(MOST);
    unpack_file(packing, file, (from, to), most)
}

/// Unpacks `from`, a file of zstd's, to the new file `to` of at most `most` bytes; zeros become holes. Blocks the thread.
///
/// # Errors
/// As [`unpack`].
pub(crate) fn unpack_within(from: &Path, to: &Path, most: u64) -> Result<()> {
    let file = File::open(from).map_err(Error::io(from))?;
    unpack_file(Packing::Zstd, file, (from, to), most)
}

fn unpack_file(packing: Packing, file: File, (from, to): (&Path, &Path), most: u64) -> Result<()> {
    let mut source = BufReader::with_capacity(1 << 20, file);
    let refused = |reason: String| Error::NotADisk {
        path: from.to_owned(),
        reason,
    };
    let mut sparse = Sparse::create(to, most).map_err(Error::io(to))?;
    let outcome = match packing {
        Packing::Gzip => sparse.fill(&mut MultiGzDecoder::new(source)),
        Packing::Xz => {
            dictionary(&mut source).and_then(|()| sparse.fill(&mut XzReader::new(source, true)))
        }
        Packing::Zstd => zstd(source, &mut sparse),
    };
    match outcome {
        Ok(()) => sparse.finish().map_err(Error::io(to)),
        Err(Stopped::TooMuch) => Err(refused(
            "it unpacks to more than any disk of its size does".into(),
        )),
        Err(Stopped::Reading(error)) => Err(refused(format!("it cannot be unpacked: {error}"))),
        Err(Stopped::Writing(error)) => Err(Error::io(to)(error)),
    }
}

/// Why unpacking ended early.
enum Stopped {
    TooMuch,
    Reading(io::Error),
    Writing(io::Error),
}

/// Frames follow one another; the decoder knows one.
fn zstd(mut source: impl BufRead, sparse: &mut Sparse) -> Result<(), Stopped> {
    while !source.fill_buf().map_err(Stopped::Reading)?.is_empty() {
        // Its windows are bounded: the decoder refuses those of more than 100 MiB.
        let mut frame = StreamingDecoder::new(&mut source)
            .map_err(|error| Stopped::Reading(io::Error::other(error.to_string())))?;
        sparse.fill(&mut frame)?;
    }
    Ok(())
}

/// Refuses a dictionary that would fill the memory: the decoder makes it before anything is known of the data. Looks at
/// the first block's header, and reads nothing.
fn dictionary(source: &mut BufReader<File>) -> Result<(), Stopped> {
    let head = source.fill_buf().map_err(Stopped::Reading)?;
    match dictionary_of(head) {
        Some(size) if size <= LARGEST_DICTIONARY => Ok(()),
        Some(_) => Err(Stopped::Reading(io::Error::other(
            "it wants more memory than a disk's packing needs",
        ))),
        None => Err(Stopped::Reading(io::Error::other("its header is broken"))),
    }
}

/// The dictionary's size in bytes (The .xz File Format, 2.1.1, 3.1 and 5.3.1); 0 for a file without blocks.
fn dictionary_of(head: &[u8]) -> Option<u64> {
    // 12 bytes of stream header, then the block's size, flags, sizes if it tells them, and filters.
    let size = *head.get(12)?;
    if size == 0 {
        return Some(0);
    }
    let header = head.get(13..12 + (usize::from(size) + 1) * 4)?;
    let (flags, mut rest) = header.split_first()?;
    for _ in 0..(flags >> 6 & 1) + (flags >> 7) {
        number(&mut rest)?;
    }
    let mut dictionary = 0;
    for _ in 0..=flags & 3 {
        let (filter, length) = (number(&mut rest)?, number(&mut rest)?);
        let (properties, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        rest = after;
        if filter == 0x21 {
            let bits = *properties.first()?;
            let power = 1_u64.checked_shl(u32::from(bits) / 2 + 11)?;
            dictionary = u64::from(2 | (bits & 1)) * power;
        }
    }
    Some(dictionary)
}

/// A number of up to nine bytes, seven bits each.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A file whose zeros take no space.
struct Sparse {
    file: File,
    length: u64,
    most: u64,
}

impl Sparse {
    fn create(path: &Path, most: u64) -> io::Result<Self> {
        Ok(Sparse {
            file: File::create_new(path)?,
            length: 0,
            most,
        })
    }

    /// Takes all that `source` has.
    fn fill(&mut self, source: &mut impl Read) -> Result<(), Stopped> {
        let mut block = vec![0; BLOCK];
        loop {
            let mut filled = 0;
            while filled < BLOCK {
                match source.read(&mut block[filled..]) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(Stopped::Reading(error)),
                }
            }
            if filled == 0 {
                return Ok(());
            }
            self.put(&block[..filled])?;
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        if self.length + bytes.len() as u64 > self.most {
            return Err(Stopped::TooMuch);
        }
        if bytes.iter().any(|byte| *byte != 0) {
            self.file
                .seek(SeekFrom::Start(self.length))
                .and_then(|_| self.file.write_all(bytes))
                .map_err(Stopped::Writing)?;
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        self.file.set_len(self.length)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;

    use super::*;

    /// Packs by the programs that distributors use.
    fn packed(program: &str, content: &[u8]) -> tempfile::NamedTempFile {
        let plain = tempfile::NamedTempFile::new().unwrap();
        fs::write(plain.path(), content).unwrap();
        let out = Command::new(program)
            .arg("-c")
            .arg(plain.path())
            .output()
            .unwrap();
        assert!(out.status.success());
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), out.stdout).unwrap();
        file
    }

    fn unpacked(file: &Path) -> (Result<()>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let head = fs::read(file).unwrap();
        let outcome = unpack(packing(&head).unwrap(), file, &folder.path().join("out"));
        (outcome, folder)
    }

    #[test]
    fn a_packed_disk_comes_out_whole_and_sparse() {
        let mut disk = vec![0; 8 << 20];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk[5_000_000..5_000_009].copy_from_slice(b"somewhere");
        for program in ["gzip", "xz", "zstd"] {
            // Two files one after the other are one, as pigz and pzstd write them.
            let one = packed(program, &disk);
            let bytes = fs::read(one.path()).unwrap();
            fs::write(one.path(), [bytes.clone(), bytes].concat()).unwrap();
            let (outcome, folder) = unpacked(one.path());
            outcome.unwrap();
            let out = folder.path().join("out");
            assert!(
                fs::read(&out).unwrap() == [disk.clone(), disk.clone()].concat(),
                "{program}"
            );
            assert!(
                fs::metadata(&out).unwrap().blocks() * 512 < 1 << 20,
                "{program}"
            );
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_fills_the_disk() {
        let bomb = packed("xz", &vec![0; 200 << 20]);
        let error = unpacked(bomb.path()).0.unwrap_err().to_string();
        assert!(error.contains("more than any disk"), "{error}");
    }

    #[test]
    fn a_broken_or_greedy_file_is_refused() {
        for program in ["gzip", "xz", "zstd"] {
            let file = packed(program, &[7; 100_000]);
            let bytes = fs::read(file.path()).unwrap();
            fs::write(file.path(), &bytes[..bytes.len() / 2]).unwrap();
            let error = unpacked(file.path()).0.unwrap_err().to_string();
            assert!(error.contains("cannot be unpacked"), "{program}: {error}");
        }
        let file = packed("xz", b"small");
        let mut bytes = fs::read(file.path()).unwrap();
        assert_eq!(dictionary_of(&bytes), Some(8 << 20));
        // Size, flags, filter, length: then the dictionary's size, here of 4 GiB.
        bytes[16] = 40;
        fs::write(file.path(), &bytes).unwrap();
        let error = unpacked(file.path()).0.unwrap_err().to_string();
        assert!(error.contains("more memory"), "{error}");
    }
}
