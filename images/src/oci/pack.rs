//! A file packed for a registry: by zstd, the same bytes for the same file.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::thread::available_parallelism;

use sha2::{Digest as _, Sha256};

use super::manifest::Blob;
use crate::{Digest, Error, Result};

/// Higher levels take several times as long for a few percent.
const LEVEL: i32 = 3;

/// More threads take more memory, and the disk and the line are no quicker for them. What comes out is the same for any
/// number.
const MOST_THREADS: usize = 4;

/// Hashes and counts what goes through.
struct Hashed<T> {
    inner: T,
    hash: Sha256,
    length: u64,
}

impl<T> Hashed<T> {
    fn new(inner: T) -> Self {
        Hashed {
            inner,
            hash: Sha256::new(),
            length: 0,
        }
    }

    fn took(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
    }
}

impl<T: Read> Read for Hashed<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.took(&buffer[..count]);
        Ok(count)
    }
}

impl<T: Write> Write for Hashed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.took(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Packs `from` into the new file `to`, and returns the digest of what was read beside what came of it. `far` is told
/// how much was read, in bytes. Blocks the thread.
pub(super) fn pack(from: &Path, to: &Path, far: &dyn Fn(u64)) -> Result<(Digest, Blob)> {
    let file = File::open(from).map_err(Error::io(from))?;
    let mut source = Hashed::new(file);
    let packed = File::create_new(to).map_err(Error::io(to))?;
    let target = Hashed::new(BufWriter::with_capacity(1 << 20, packed));
    let threads = available_parallelism().map_or(1, |count| count.get().min(MOST_THREADS));
    let mut encoder = zstd::Encoder::new(target, LEVEL).map_err(Error::io(to))?;
    encoder.multithread(threads as u32).map_err(Error::io(to))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => encoder.write_all(&buffer[..count]).map_err(Error::io(to))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io(from)(error)),
        }
        far(source.length);
    }
    let mut target = encoder.finish().map_err(Error::io(to))?;
    target.flush().map_err(Error::io(to))?;
    let blob = Blob {
        digest: Digest::finished(target.hash),
        size: target.length,
    };
    Ok((Digest::finished(source.hash), blob))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::unpack::unpack_within;

    #[test]
    fn a_file_is_packed_the_same_twice_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut content = vec![0; 24 << 20];
        for (index, byte) in content[..6 << 20].iter_mut().enumerate() {
            *byte = (index.wrapping_mul(index) >> 11) as u8;
        }
        fs::write(at("disk"), &content).unwrap();
        let (digest, one) = pack(&at("disk"), &at("one"), &|_| {}).unwrap();
        let (_, two) = pack(&at("disk"), &at("two"), &|_| {}).unwrap();
        assert_eq!(digest, Digest::of(&content));
        assert_eq!(one, two);
        let packed = fs::read(at("one")).unwrap();
        assert_eq!(one.digest, Digest::of(&packed));
        assert_eq!(one.size, packed.len() as u64);
        assert_eq!(packed, fs::read(at("two")).unwrap());
        unpack_within(&at("one"), &at("back"), content.len() as u64).unwrap();
        assert!(fs::read(at("back")).unwrap() == content);
        // One byte less than it unpacks to is too little.
        let told = unpack_within(&at("one"), &at("bomb"), content.len() as u64 - 1).unwrap_err();
        assert!(told.to_string().contains("more than"), "{told}");
    }
}
