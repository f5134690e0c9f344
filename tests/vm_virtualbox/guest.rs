//! The guest that counts: its disk, and what it tells. See `counter.s`.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use berth_driver_api::Machine;
use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};

use crate::vm::{Host, eventually};

/// Anything that VirtualBox is waited for.
pub const SOON: Duration = Duration::from_secs(120);

/// The size of the guests' image.
pub const IMAGE: u64 = 16 << 20;

const ESP_START: u64 = 1 << 20;
const ESP_LENGTH: u64 = 8 << 20;

/// A disk as berth's images have it, as far as the driver looks, whose boot sector counts.
pub fn counting_image(host: &Host, disk: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm_virtualbox/counter.s");
    let file = |name: &str| host.scratch().join(name);
    host.run("as", "--32 -o counter.o")
        .arg(source.to_str().unwrap())
        .ok();
    host.run("objcopy", "-O binary -j .text counter.o counter")
        .ok();
    let code = fs::read(file("counter")).unwrap();

    let mut esp = fs::File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(file("esp"))
        .unwrap();
    esp.set_len(ESP_LENGTH).unwrap();
    fatfs::format_volume(&esp, FormatVolumeOptions::new()).unwrap();
    {
        let system = FileSystem::new(&esp, FsOptions::new()).unwrap();
        let root = system.root_dir();
        for name in ["loader", "loader/entries", "berth"] {
            root.create_dir(name).unwrap();
        }
        let entry = b"linux /berth/vmlinuz\ninitrd /berth/initrd\noptions root=x\n";
        let mut file = root.create_file("loader/entries/berth.conf").unwrap();
        file.write_all(entry).unwrap();
    }
    let mut put = |at: u64, bytes: &[u8]| {
        esp.seek(SeekFrom::Start(at)).unwrap();
        esp.write_all(bytes).unwrap();
    };
    // A jump over what the file system says of itself.
    put(0, &[0xeb, 0x58, 0x90]);
    put(0x5a, &code[0x5a..]);

    let mut bytes = vec![0; IMAGE as usize];
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    let (first, last) = (ESP_START / 512, (ESP_START + ESP_LENGTH) / 512 - 1);
    put(512, b"EFI PART");
    put(512 + 72, &2u64.to_le_bytes());
    put(512 + 80, &128u32.to_le_bytes());
    put(512 + 84, &128u32.to_le_bytes());
    put(
        1024,
        b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b",
    );
    put(1024 + 32, &first.to_le_bytes());
    put(1024 + 40, &last.to_le_bytes());
    put(ESP_START as usize, &fs::read(file("esp")).unwrap());
    fs::write(disk, bytes).unwrap();
}

/// What a guest told in one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub boots: u32,
    pub number: u32,
}

/// All that the guest told since its VM was started, the oldest first. A VM that goes on may begin amid a line.
pub fn counts(machine: &Machine) -> Vec<Count> {
    let text = fs::read_to_string(machine.file("console.log")).unwrap_or_default();
    text.split_inclusive('\n').filter_map(read).collect()
}

fn read(line: &str) -> Option<Count> {
    let (boots, number) = line
        .strip_suffix('\n')?
        .strip_prefix('b')?
        .split_once('c')?;
    let hex = |digits: &str| (digits.len() == 8).then(|| u32::from_str_radix(digits, 16).ok());
    Some(Count {
        boots: hex(boots)??,
        number: hex(number)??,
    })
}

/// Waits until the guest has counted on, and tells how far.
#[track_caller]
pub fn goes_on(machine: &Machine) -> Count {
    let before = counts(machine).len();
    eventually("the guest's next number", SOON, || {
        let now = counts(machine);
        now.last().copied().filter(|_| now.len() > before + 1)
    })
}
