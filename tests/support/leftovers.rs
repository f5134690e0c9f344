//! What a world that should be empty still has.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::World;

/// Something that should be gone.
#[derive(Debug)]
pub enum Left {
    Process(i32, String),
    File(String),
}

/// Processes that have to do with the world's folder, and files of machines that are gone. A plugin may end a moment
/// after its berth did.
pub fn of(world: &World) -> Vec<Left> {
    let until = Instant::now() + Duration::from_secs(3);
    loop {
        let left = now(world);
        if left.is_empty() || Instant::now() > until {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn now(world: &World) -> Vec<Left> {
    let mut left = processes(&world.path("").display().to_string());
    for folder in ["machines", "locks", "ports"] {
        left.extend(files(&world.data().join(folder)));
    }
    left.extend(files(&world.path("docker/contexts/tls")));
    let contexts = world.path("docker/contexts/meta");
    for entry in fs::read_dir(contexts).into_iter().flatten().flatten() {
        let meta = fs::read_to_string(entry.path().join("meta.json")).unwrap_or_default();
        // A context that a test made itself is not berth's to remove.
        if meta.is_empty() || meta.contains("dev.berth.machine") {
            left.push(Left::File(format!("{}: {meta}", entry.path().display())));
        }
    }
    left
}

/// Ends the processes, by their ids.
pub fn end(left: &[Left]) {
    for each in left {
        if let Left::Process(pid, _) = each {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }
}

/// Those whose arguments, environment, working folder or open files name `folder`.
fn processes(folder: &str) -> Vec<Left> {
    let mut found = Vec::new();
    let own = std::process::id() as i32;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let path = entry.path();
        if pid != own && !is_dead(&path) && mentions(&path, folder) {
            let words = fs::read(path.join("cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).replace('\0', " ");
            found.push(Left::Process(pid, words));
        }
    }
    found
}

/// Whether a process is there and not just waiting for its parent to ask after it.
pub fn lives(pid: i32) -> bool {
    !is_dead(&Path::new("/proc").join(pid.to_string()))
}

/// A process whose first thread has ended holds its files and locks until its last one has.
fn is_dead(process: &Path) -> bool {
    let threads = fs::read_dir(process.join("task")).map_or(0, Iterator::count);
    let status = fs::read_to_string(process.join("status"));
    threads < 2 && status.map_or(true, |status| status.contains("State:\tZ"))
}

fn mentions(process: &Path, folder: &str) -> bool {
    let has =
        |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).contains(folder.trim_end_matches('/'));
    let links = |path: &Path| fs::read_link(path).is_ok_and(|to| to.starts_with(folder));
    ["cmdline", "environ"]
        .iter()
        .any(|file| fs::read(process.join(file)).is_ok_and(has))
        || links(&process.join("cwd"))
        || fs::read_dir(process.join("fd"))
            .into_iter()
            .flatten()
            .flatten()
            .any(|fd| links(&fd.path()))
}

fn files(folder: &Path) -> Vec<Left> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| Left::File(entry.path().display().to_string()))
        .collect()
}
