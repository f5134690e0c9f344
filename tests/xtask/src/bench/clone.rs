//! Clones of a template against cold creates, in time and in memory.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::world::{World, median, printed, pss, timed};
use super::{Figure, at_most, plain};

const ROUNDS: usize = 3;

/// How many idle machines of each kind are compared in memory, if that many fit.
const IDLE: usize = 10;

/// As much memory is asked for before a machine more is made (MB): what a cold one takes.
const ROOM: u64 = 1100;

/// How many clones are made one after the other to see whether the last cost more than the first, if that many fit; and of
/// how many at each end the median counts.
const MANY: usize = 50;
const END: usize = 5;

/// What a clone that is just made takes (MB).
const ROOM_OF_CLONE: u64 = 250;

/// How long a clone leaves something for later (s).
const LATER: u64 = 130;

/// What every machine and the template are made with.
const SIZE: [&str; 6] = ["--driver", "qemu", "--memory", "1G", "--cpus", "2"];

/// The phases of a create that the time goes to, and what they are.
const PHASES: &[(&[&str], &str)] = &[
    (&["Restoring"], "  QEMU's start and the restore"),
    (&["Renewing"], "  renewal in the guest"),
    (&["Joining the network"], "  link up → address"),
    (
        &[
            "Starting the engine",
            "Opening the endpoint",
            "Waiting for the engine",
        ],
        "  SSH and the engine's answer",
    ),
];

/// Alternates clones and cold creates, so that the computer's moods meet both.
pub fn run() -> Result<Vec<Figure>> {
    let world = World::new()?;
    world.run(&["image", "build", "debian-13-docker"])?;
    let build = timed(&mut world.berth(&[&["template", "build"], &SIZE[..]].concat()))?;
    let (mut colds, mut clones) = (Vec::new(), Vec::new());
    let mut phases = vec![0.0; PHASES.len()];
    let mut own = 0.0;
    for _ in 0..ROUNDS {
        colds.push(timed(
            &mut world.berth(&[&["create", "a1", "--cold"], &SIZE[..]].concat()),
        )?);
        world.run(&["rm", "--yes", "a1"])?;
        let begun = std::time::Instant::now();
        let told = printed(&mut world.berth(&[&["create", "a1", "--json"], &SIZE[..]].concat()))?;
        let took = begun.elapsed();
        clones.push(took);
        own += (took.as_secs_f64() - seconds(&told)?) / ROUNDS as f64;
        world.run(&["rm", "--yes", "a1"])?;
        for (sum, (names, _)) in phases.iter_mut().zip(PHASES) {
            *sum += seconds_in(&told, names)? / ROUNDS as f64;
        }
    }
    let (cold, clone) = (median(colds).as_secs_f64(), median(clones).as_secs_f64());
    let idle = IDLE.min((available()? / ROOM) as usize).max(2);
    let cold_memory = memory(&world, idle, &["--cold"])?;
    let clone_memory = memory(&world, idle, &[])?;
    let many = MANY.min((available()? / ROOM_OF_CLONE) as usize).max(END);
    let times = make(&world, many, &[])?;
    world.run(&["rm", "--yes", "--all"])?;
    let slowest = times.iter().max().copied().unwrap_or_default();
    let first = median(times[..END].to_vec()).as_secs_f64();
    let last = median(times[many - END..].to_vec()).as_secs_f64();
    let mut figures = vec![
        plain("making the template", build.as_secs_f64(), "s"),
        plain("cold create → the engine answers", cold, "s"),
        plain("clone → the engine answers", clone, "s"),
        at_most("clone against cold", clone / cold, "×", 0.05),
        plain("  berth's own start and end", own, "s"),
    ];
    for ((_, what), seconds) in PHASES.iter().zip(phases) {
        figures.push(plain(*what, seconds, "s"));
    }
    figures.extend([
        plain(
            format!("PSS of {idle} idle cold machines' QEMUs"),
            cold_memory,
            "MB",
        ),
        plain(
            format!("PSS of {idle} idle clones' QEMUs"),
            clone_memory,
            "MB",
        ),
        at_most("memory against cold", clone_memory / cold_memory, "×", 0.35),
        plain(
            format!("the first {END} of {many} clones, half"),
            first,
            "s",
        ),
        plain(format!("the last {END} of them, half"), last, "s"),
        plain("the slowest of all", slowest.as_secs_f64(), "s"),
        at_most(
            format!("the last {END} against the first"),
            last / first,
            "×",
            1.5,
        ),
    ]);
    Ok(figures)
}

/// How long a create took by its own account.
fn seconds(told: &str) -> Result<f64> {
    timings(told)?
        .iter()
        .map(|timing| timing["seconds"].as_f64().context("seconds"))
        .sum()
}

/// How long a create was in these phases, by what it printed.
fn seconds_in(told: &str, phases: &[&str]) -> Result<f64> {
    let timings = timings(told)?;
    let of = timings.iter().filter(|timing| {
        let phase = timing["phase"].as_str().unwrap_or_default();
        phases.contains(&phase)
    });
    Ok(of.filter_map(|timing| timing["seconds"].as_f64()).sum())
}

fn timings(told: &str) -> Result<Vec<Value>> {
    let told: Value = serde_json::from_str(told)?;
    Ok(told[0]["timings"].as_array().context("timings")?.clone())
}

/// Makes machines one after the other, and tells how long each took.
fn make(world: &World, count: usize, how: &[&str]) -> Result<Vec<Duration>> {
    let one = |number| {
        let name = name(number);
        let words = [&["create", &name], how, &SIZE[..]].concat();
        timed(&mut world.berth(&words))
    };
    (0..count).map(one).collect()
}

fn name(number: usize) -> String {
    format!("m{}", number + 1)
}

/// What machines' QEMUs take together when all are idle (MB), each page shared among those that have it.
fn memory(world: &World, count: usize, how: &[&str]) -> Result<f64> {
    make(world, count, how)?;
    std::thread::sleep(Duration::from_secs(LATER));
    let mut sum = 0.0;
    for number in 0..count {
        let pid = fs::read_to_string(world.machine(&name(number)).join("vm/qemu.pid"))?;
        sum += pss(pid.trim().parse()?)?;
    }
    world.run(&["rm", "--yes", "--all"])?;
    Ok(sum)
}

/// The memory that this computer could still give (MB).
fn available() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.context("MemAvailable")?.parse::<u64>()? / 1024)
}
