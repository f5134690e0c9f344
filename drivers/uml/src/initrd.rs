//! The machine's initrd: the kernel's own, and after it an archive with the machine's credentials. So they are in no
//! argument and no environment, but in a file that only the user may read, and then in the guest's memory.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use berth_driver_api::{Error, Machine, Result, credentials, files};

use crate::kernel::Kernel;

/// Its name in the machine's folder. It stays while the machine runs: a guest that reboots reads it again.
pub(crate) const FILE: &str = "initrd";

const FOLDER: u32 = 0o040_700;
const SECRET: u32 = 0o100_400;

/// Writes it.
pub(crate) fn write(machine: &Machine, kernel: &Kernel) -> Result<()> {
    let own = kernel.initrd();
    let mut bytes = fs::read(&own).map_err(Error::io(&own))?;
    // Archives are looked for at multiples of four bytes.
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let mut archive = Archive(bytes);
    archive.entry("credentials", FOLDER, b"");
    for (name, file) in credentials::list(machine)? {
        let value = fs::read(&file).map_err(Error::io(&file))?;
        archive.entry(&format!("credentials/{name}"), SECRET, &value);
    }
    let path = machine.file(FILE);
    files::remove(&path)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io(&path))?;
    // Made anew at every start, so it need not be durable.
    file.write_all(&archive.end()).map_err(Error::io(&path))
}

/// A cpio archive of the format "newc" (the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`).
struct Archive(Vec<u8>);

impl Archive {
    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
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

    fn end(mut self) -> Vec<u8> {
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
        let mut archive = Archive(Vec::new());
        archive.entry("credentials", FOLDER, b"");
        archive.entry(
            "credentials/ssh.authorized_keys.root",
            SECRET,
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
