//! Archives that the kernel unpacks into its first file system, one after the other: what a machine's own initrd adds to
//! the image's.

/// A cpio archive of the format "newc" (the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`).
#[derive(Default)]
pub struct Archive(Vec<u8>);

impl Archive {
    /// An archive that follows `before`, which is one too, packed or not.
    pub fn after(mut before: Vec<u8>) -> Self {
        // Archives are looked for at multiples of four bytes.
        before.resize(before.len().next_multiple_of(4), 0);
        Archive(before)
    }

    /// Adds a file or, by its `mode` (stat(2)), a folder, which comes before what is in it. `name` has no leading slash.
    pub fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        let fields = [
            0, // inode; no hard links here
            mode,
            0, // owner
            0, // group
            1, // links
            0, // time
            content.len() as u32,
            0, // device, twice two numbers
            0,
            0,
            0,
            name.len() as u32 + 1,
            0, // checksum, unused
        ];
        self.0.extend_from_slice(b"070701");
        for field in fields {
            self.0.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(0);
        self.pad();
        self.0.extend_from_slice(content);
        self.pad();
    }

    /// All of its bytes.
    pub fn end(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, b"");
        self.0
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_what_cpio_reads() {
        let mut archive = Archive::default();
        archive.entry("credentials", 0o040_700, b"");
        archive.entry(
            "credentials/ssh.authorized_keys.root",
            0o100_400,
            b"ssh-ed25519 AAAA\n",
        );
        let bytes = archive.end();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("07070100000000000041C0"), "{text}");
        assert!(text.contains("credentials/ssh.authorized_keys.root\0"));
        assert!(text.contains("ssh-ed25519 AAAA\n"));
        assert!(text.contains("TRAILER!!!\0"));
        // Length of the name, its zero included; length of the content.
        assert!(text.contains("00000011"));
        assert!(text.contains("00000025"));
    }
}
