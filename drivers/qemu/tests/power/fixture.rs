//! Machines without an image: their guest is a few bytes that write a line to the console and then obey the power
//! button.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use berth_driver_api::{BootImage, DiskFormat, Machine, Progress, Spec, process};
use berth_driver_qemu::Qemu;
use tempfile::TempDir;
use uuid::Uuid;

/// A multiboot kernel: prints "tiny guest", enables the ACPI power button and powers off when it is pressed.
#[rustfmt::skip]
const KERNEL: &[u8] = &[
    0x02, 0xb0, 0xad, 0x1b, 0x00, 0x00, 0x01, 0x00, 0xfe, 0x4f, 0x51, 0xe4, 0x00, 0x00, 0x10, 0x00,
    0x00, 0x00, 0x10, 0x00, 0x5f, 0x00, 0x10, 0x00, 0x5f, 0x00, 0x10, 0x00, 0x20, 0x00, 0x10, 0x00,
    0x66, 0xba, 0xf8, 0x03, 0xbe, 0x52, 0x00, 0x10, 0x00, 0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb,
    0xf8, 0x66, 0xba, 0x02, 0x06, 0x66, 0xb8, 0x00, 0x01, 0x66, 0xef, 0x66, 0xba, 0x00, 0x06, 0x66,
    0xed, 0xf6, 0xc4, 0x01, 0x74, 0xf5, 0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef,
    0xeb, 0xfe, 0x74, 0x69, 0x6e, 0x79, 0x20, 0x67, 0x75, 0x65, 0x73, 0x74, 0x0d, 0x0a, 0x00,
];

pub struct Fixture {
    folder: TempDir,
    pub driver: Qemu,
    pids: Mutex<Vec<PathBuf>>,
}

impl Fixture {
    /// `None`, with a printed reason, where there is no QEMU.
    pub fn new() -> Option<Fixture> {
        for tool in ["qemu-system-x86_64", "qemu-img"] {
            if process::find(tool).is_none() {
                println!("skipped: {tool} is not installed");
                return None;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kernel"), KERNEL).unwrap();
        let disk = fs::File::create(folder.path().join("disk,1.raw")).unwrap();
        disk.set_len(1 << 20).unwrap();
        let driver = Qemu::new(folder.path().join("cache"));
        Some(Fixture {
            folder,
            driver,
            pids: Mutex::new(Vec::new()),
        })
    }

    pub fn machine(&self, name: &str) -> Machine {
        // A comma in a path must not end an option.
        let folder = self.path().join(format!("{name},x"));
        let sockets = self.path().join(format!("{name}.s"));
        for folder in [&folder, &sockets] {
            fs::create_dir(folder).unwrap();
        }
        self.pids.lock().unwrap().push(folder.join("qemu.pid"));
        Machine {
            id: Uuid::new_v4(),
            name: name.into(),
            folder,
            sockets,
            ports: self.path().join("ports"),
            networks: self.path().join("networks"),
            seed: None,
            shares: Vec::new(),
            spec: Spec {
                cpus: 1,
                memory: 256 << 20,
                disk: 8 << 20,
                image: Some(BootImage {
                    digest: format!("sha256:{:064}", 0),
                    arch: "x86_64".into(),
                    disk: self.path().join("disk,1.raw"),
                    format: DiskFormat::Raw,
                    virtual_size: 1 << 20,
                    kernel: Some(self.path().join("kernel")),
                    initrd: None,
                    cmdline: Some("quiet".into()),
                    driver_kernel: None,
                }),
                options: BTreeMap::from([("accel".into(), "tcg".into())]),
            },
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// What a failed test leaves running is ended here: only processes that name this test's own folder.
impl Drop for Fixture {
    fn drop(&mut self) {
        let folder = self.path().to_string_lossy().into_owned();
        for file in self.pids.lock().unwrap().iter() {
            let pid = fs::read_to_string(file).unwrap_or_default();
            let Ok(pid) = pid.trim().parse::<i32>() else {
                continue;
            };
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains(&folder) {
                kill(pid);
            }
        }
    }
}

pub fn kill(pid: i32) {
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

pub fn pid(machine: &Machine) -> i32 {
    let text = fs::read_to_string(machine.file("qemu.pid")).unwrap();
    text.trim().parse().unwrap()
}

/// Waits until the guest has written its line. Nothing but the file tells.
pub async fn booted(machine: &Machine) {
    let begun = Instant::now();
    while !fs::read_to_string(machine.file("console.log")).is_ok_and(|text| text.contains("tiny")) {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the guest did not boot"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs one command on a monitor, as another program would.
pub fn monitor(machine: &Machine, socket: &str, command: &str) {
    let mut stream = UnixStream::connect(machine.socket(socket)).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    lines.next().unwrap().unwrap();
    for command in ["qmp_capabilities", command] {
        writeln!(stream, "{{\"execute\": \"{command}\"}}").unwrap();
        while !lines.next().unwrap().unwrap().contains("\"return\"") {}
    }
}

/// Keeps what it is told.
#[derive(Default)]
pub struct Notes(pub Mutex<Vec<String>>);

impl Progress for Notes {
    fn phase(&self, _title: &str) {}
    fn bytes(&self, _done: u64, _total: Option<u64>) {}
    fn note(&self, line: &str) {
        self.0.lock().unwrap().push(line.into());
    }
}
