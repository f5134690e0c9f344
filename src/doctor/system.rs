//! Memory and disk.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::{Check, Verdict};
use crate::machine::show_size;

/// A machine with its guest's page cache wants this much (bytes).
const ENOUGH_MEMORY: u64 = 3 << 30;
/// An image and a machine's disk with a few container images (bytes).
const ENOUGH_DISK: u64 = 5 << 30;

/// How much memory is free for machines.
pub fn memory() -> Check {
    let available = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text
                .lines()
                .find(|line| line.starts_with("MemAvailable:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .map(|kib| kib * 1024);
    let (verdict, detail) = match available {
        Some(bytes) if bytes < ENOUGH_MEMORY => (
            Verdict::Poor,
            format!(
                "{} available: make machines with less, such as --memory 1G",
                show_size(bytes)
            ),
        ),
        Some(bytes) => (Verdict::Good, format!("{} available", show_size(bytes))),
        None => (
            Verdict::Poor,
            "how much is available is not known here".into(),
        ),
    };
    check("memory", verdict, detail)
}

/// How much room there is for images and disks.
pub fn disk(home: &Path) -> Check {
    // The home need not exist yet: its nearest parent tells.
    let existing = home
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    let (verdict, detail) = match statvfs(existing) {
        Ok(stat) => {
            let free = stat.blocks_available() * stat.fragment_size();
            let verdict = if free < ENOUGH_DISK {
                Verdict::Poor
            } else {
                Verdict::Good
            };
            (
                verdict,
                format!("{} free for {}", show_size(free), home.display()),
            )
        }
        Err(error) => (Verdict::Poor, format!("{}: {error}", existing.display())),
    };
    check("disk", verdict, detail)
}

fn check(subject: &str, verdict: Verdict, detail: String) -> Check {
    Check {
        subject: subject.into(),
        verdict,
        detail,
        missing: Vec::new(),
    }
}
