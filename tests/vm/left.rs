//! Nothing may be left of a machine that was removed.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Host;

/// Asserts that no process, file, socket, port lease or context is left.
#[track_caller]
pub fn assert_nothing_left(host: &Host) {
    let processes = processes(host);
    assert!(processes.is_empty(), "processes are left: {processes:?}");
    for folder in ["machines", "networks", "ports", "locks"] {
        let left = files(&host.berth_home().join(folder));
        assert!(left.is_empty(), "left in {folder}: {left:?}");
    }
    let contexts = files(&host.docker_config().join("contexts/meta"));
    assert!(contexts.is_empty(), "contexts are left: {contexts:?}");
    let config = fs::read_to_string(host.docker_config().join("config.json")).unwrap_or_default();
    assert!(!config.contains("currentContext"), "{config}");
    // A process that is ending has no command line any more, and its sockets still.
    let until = Instant::now() + Duration::from_secs(10);
    while !sockets(host).is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    let sockets = sockets(host);
    assert!(sockets.is_empty(), "sockets are left: {sockets:?}");
}

/// Ends what a failed test left running.
pub fn end_processes(host: &Host) {
    for (pid, _) in processes(host) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// The processes that have the host's folder in their environment, on their command line, or as their working
/// directory: whatever berth started for it has.
fn processes(host: &Host) -> Vec<(i32, String)> {
    let needle = host.scratch().as_os_str().as_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let (line, environment) = (read("cmdline"), read("environ"));
        let folder = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if contains(&line, needle)
            || contains(&environment, needle)
            || folder.starts_with(host.scratch())
        {
            let words = String::from_utf8_lossy(&line).replace('\0', " ");
            found.push((pid, words.chars().take(200).collect()));
        }
    }
    found
}

/// The sockets that listen below the host's folder, by the kernel's list.
fn sockets(host: &Host) -> Vec<String> {
    let needle = host.scratch().to_str().unwrap();
    let table = fs::read_to_string("/proc/net/unix").unwrap();
    let lines = table.lines().filter(|line| line.contains(needle));
    lines.map(str::to_owned).collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
