//! What only User Mode Linux machines have to stand: an ordinary user, many at once, any of their processes killed, and
//! a computer that is short of what they need.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod debian13;
mod group;
mod killed;
mod pool;
mod short;
mod user;

#[path = "../vm/mod.rs"]
mod vm;

use std::path::PathBuf;
use std::time::Duration;

use vm::{BOOT, Host, assert_nothing_left, build_busybox, image};

/// Made and used at once on a small computer.
const MANY: usize = 20;
const AT_ONCE: usize = 4;

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn twenty_machines_answer_and_leave_nothing() {
    let host = Host::with("uml");
    let names: Vec<String> = (1..=MANY).map(|n| format!("many{n}")).collect();
    for some in names.chunks(AT_ONCE) {
        host.berth("create --memory 512M --image")
            .arg(image("debian-13-docker"))
            .args(some.iter().cloned())
            .deadline(BOOT)
            .ok();
    }
    host.berth("use many1").ok();
    build_busybox(&host);
    host.docker("save --output bbox.tar bbox").ok();
    for name in &names {
        let docker = |line: &str| host.docker(&format!("--context {name} {line}"));
        docker("load --quiet --input bbox.tar").ok();
        docker("run --detach --name sleeper bbox sleep 100000").ok();
    }
    let states = host.berth("ls --timeout 20 --format {{.State}}").text();
    assert_eq!(
        states.lines().filter(|state| *state == "running").count(),
        MANY
    );
    for name in &names {
        let docker = |line: &str| host.docker(&format!("--context {name} {line}"));
        assert_eq!(docker("exec sleeper hostname").text().len(), 12);
        assert_eq!(docker("info --format {{.Name}}").text(), *name);
    }
    let memory: Vec<PathBuf> = names
        .iter()
        .map(|name| memory_folder(&host, name))
        .collect();
    assert!(memory.iter().all(|folder| folder.exists()));
    host.berth("rm --yes --all")
        .deadline(Duration::from_secs(120))
        .ok();
    assert_nothing_left(&host);
    let left: Vec<&PathBuf> = memory.iter().filter(|folder| folder.exists()).collect();
    assert!(left.is_empty(), "memory is left: {left:?}");
    let shared = host.home().join(".uml");
    assert!(!shared.exists(), "{} is left", shared.display());
}

/// The folder in which a running machine has its memory.
fn memory_folder(host: &Host, name: &str) -> PathBuf {
    let record = std::fs::read_to_string(host.machine(name).join("machine.toml")).unwrap();
    let id = record
        .lines()
        .find_map(|line| line.strip_prefix("id = "))
        .unwrap();
    PathBuf::from(format!("/dev/shm/berth-{}", id.trim_matches('"')))
}
