//! `berth exec`: one command on many machines, and what is told of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod copy;
mod input;
mod output;
mod refused;
mod select;
mod turns;

#[path = "../support/mod.rs"]
mod support;

use std::fs;

use support::{Ran, World, eventually};

/// The summary's seconds differ from run to run.
fn told(ran: &Ran) -> String {
    let lines = ran.told();
    let lines = lines.lines().map(|line| match line.rsplit_once(" (") {
        Some((line, time)) if time.ends_with(" s)") => format!("{line} (TIME)\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

fn world(names: &[&str]) -> World {
    let world = World::new();
    world.create(names).ok();
    world
}

/// Waits until no process has `word` among its own.
fn nothing_runs(word: &str) {
    eventually("commands that were cut off end", || {
        let processes = fs::read_dir("/proc").unwrap();
        let mut words = processes
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("cmdline")).ok());
        !words.any(|words| words.contains(word))
    });
}
