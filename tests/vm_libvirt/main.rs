//! The plugin program berth-driver-libvirt, on daemons of libvirt's that the tests start in folders of their own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod kept;
mod resized;
mod session;
mod system;
#[path = "../vm/mod.rs"]
mod vm;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vm::eventually;

/// The plugin, which is built beside berth but not with it.
fn plugin() -> PathBuf {
    let plugin = Path::new(env!("CARGO_BIN_EXE_berth")).with_file_name("berth-driver-libvirt");
    assert!(
        plugin.exists(),
        "{} is missing: `cargo xtask test` builds it",
        plugin.display()
    );
    plugin
}

/// Ends the daemon that wrote the pid file, if it did, and waits for its end.
fn end_daemon(pid_file: &Path) {
    let Ok(text) = std::fs::read_to_string(pid_file) else {
        return;
    };
    let pid = Pid::from_raw(text.trim().parse().unwrap());
    let _ = kill(pid, Signal::SIGTERM);
    eventually("the daemon ends", Duration::from_secs(20), || {
        // One that nobody reaped yet has let go of everything once its last other thread is gone.
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let dead = status.contains("\nState:\tZ") && status.contains("\nThreads:\t1\n");
        (status.is_empty() || dead).then_some(())
    });
}
