//! The archive format that the kernel unpacks an initrd from: cpio "newc".

/// An archive being written.
#[derive(Default)]
pub(crate) struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

impl Cpio {
    pub(crate) fn folder(&mut self, path: &str) {
        self.entry(path, 0o040_755, (0, 0), &[]);
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.entry(path, 0o120_777, (0, 0), target.as_bytes());
    }

    /// A character device with its major and minor number.
    pub(crate) fn device(&mut self, path: &str, permissions: u32, numbers: (u32, u32)) {
        self.entry(path, 0o020_000 | permissions, numbers, &[]);
    }

    pub(crate) fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        self.entry(path, 0o100_000 | permissions, (0, 0), content);
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let links = 1;
        let size = content.len() as u32;
        let name_size = path.len() as u32 + 1;
        // inode, mode, uid, gid, links, mtime, size, device and special device (major, minor each), name, checksum
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            size,
            0,
            0,
            device.0,
            device.1,
            name_size,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_starts_at_a_multiple_of_four() {
        let mut cpio = Cpio::default();
        cpio.folder("bin");
        cpio.file("init", 0o755, b"hello");
        cpio.link("lib", "/usr/lib");
        cpio.device("fuse", 0o666, (10, 229));
        let bytes = cpio.finish();
        assert!(bytes.len().is_multiple_of(4));
        let text = String::from_utf8_lossy(&bytes);
        let starts: Vec<usize> = text.match_indices("070701").map(|(at, _)| at).collect();
        assert_eq!(starts.len(), 5);
        assert!(starts.iter().all(|at| at % 4 == 0));
        assert!(text.contains("hello") && text.contains("TRAILER!!!"));
        assert!(text.contains("0000000A000000E5"), "the device's numbers");
    }
}
