//! The emulated computer's user: his machines, and how he asks after them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use berth_driver_api::{BootImage, Credential, DiskFormat, Driver, Machine, Progress, Spec, State};
use berth_driver_virtualbox::VirtualBox;
use uuid::Uuid;

use crate::guest::{IMAGE, SOON};

/// The computer's user, and the folder of his machines.
pub struct User {
    pub driver: VirtualBox,
    pub folder: tempfile::TempDir,
    pub image: PathBuf,
    pub begun: Instant,
}

impl User {
    pub fn machine(&self, name: &str) -> Machine {
        let path = |what: &str| {
            let path = self.folder.path().join(what);
            fs::create_dir_all(&path).unwrap();
            path
        };
        Machine {
            id: Uuid::new_v4(),
            name: name.into(),
            folder: path(name),
            sockets: path("sockets"),
            ports: path("ports"),
            networks: path("networks"),
            seed: Some(self.new_seed(name)),
            shares: Vec::new(),
            spec: Spec {
                cpus: 1,
                memory: 256 << 20,
                disk: 2 * IMAGE,
                image: Some(BootImage {
                    digest: String::new(),
                    arch: "x86_64".into(),
                    disk: self.image.clone(),
                    format: DiskFormat::Raw,
                    virtual_size: IMAGE,
                    kernel: None,
                    initrd: None,
                    cmdline: None,
                    driver_kernel: None,
                }),
                options: Default::default(),
            },
        }
    }

    /// Another file in place of the machine's seed.
    pub fn new_seed(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(format!("{name}.seed"));
        let new = path.with_extension("new");
        fs::write(&new, vec![0; 2 << 20]).unwrap();
        fs::rename(&new, &path).unwrap();
        path
    }

    /// VirtualBox is slow here, and then the machine is told to be unreachable.
    #[track_caller]
    pub fn is(&self, machine: &Machine, wanted: State) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let begun = Instant::now();
            let mut state = State::Unreachable;
            while state == State::Unreachable && begun.elapsed() < SOON {
                state = self.driver.state(machine).await.unwrap();
            }
            assert_eq!(state, wanted, "{} at {caller}", machine.name);
        }
    }

    pub fn tell(&self, what: &str) {
        println!("  {:6.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }
}

pub fn credentials(value: &str) -> [Credential; 1] {
    [Credential {
        name: "test".into(),
        value: value.into(),
    }]
}

/// What this emulated computer needs: no UEFI, and the disks read and written by way of its own cache. Without that the
/// removal of a running machine's snapshot got stuck.
pub fn as_emulated(machine: &Machine) {
    manage(&format!("modifyvm {} --firmware bios", machine.id));
    manage(&format!(
        "storagectl {} --name SATA --hostiocache on",
        machine.id
    ));
}

pub fn manage(arguments: &str) -> String {
    let run = Command::new("VBoxManage")
        .args(arguments.split(' '))
        .output();
    let out = run.unwrap();
    let words = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{arguments}: {words}");
    String::from_utf8(out.stdout).unwrap()
}

#[derive(Default)]
pub struct Notes(pub std::sync::Mutex<Vec<String>>);

impl Progress for Notes {
    fn phase(&self, _title: &str) {}
    fn bytes(&self, _done: u64, _total: Option<u64>) {}
    fn note(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}
