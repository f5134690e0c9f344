//! Clones of a template against cold creates, in time and in memory.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use super::world::{World, median, printed, pss, timed};
use super::{Figure, at_most, plain};

const ROUNDS: usize = 3;

/// How many idle machines of each kind are compared in memory.
const IDLE: usize = 4;

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
    for _ in 0..ROUNDS {
        colds.push(timed(
            &mut world.berth(&[&["create", "a1", "--cold"], &SIZE[..]].concat()),
        )?);
        world.run(&["rm", "--yes", "a1"])?;
        let begun = std::time::Instant::now();
        let told = printed(&mut world.berth(&[&["create", "a1", "--json"], &SIZE[..]].concat()))?;
        clones.push(begun.elapsed());
        world.run(&["rm", "--yes", "a1"])?;
        for (sum, (names, _)) in phases.iter_mut().zip(PHASES) {
            *sum += seconds_in(&told, names)? / ROUNDS as f64;
        }
    }
    let (cold, clone) = (median(colds).as_secs_f64(), median(clones).as_secs_f64());
    let cold_memory = memory(&world, "cold", &["--cold"])?;
    let clone_memory = memory(&world, "clone", &[])?;
    let mut figures = vec![
        plain("making the template", build.as_secs_f64(), "s"),
        plain("cold create → the engine answers", cold, "s"),
        plain("clone → the engine answers", clone, "s"),
        at_most("clone against cold", clone / cold, "×", 0.05),
    ];
    for ((_, what), seconds) in PHASES.iter().zip(phases) {
        figures.push(plain(*what, seconds, "s"));
    }
    figures.extend([
        plain(
            format!("PSS of {IDLE} idle cold machines' QEMUs"),
            cold_memory,
            "MB",
        ),
        plain(
            format!("PSS of {IDLE} idle clones' QEMUs"),
            clone_memory,
            "MB",
        ),
        at_most("memory against cold", clone_memory / cold_memory, "×", 0.35),
    ]);
    Ok(figures)
}

/// How long a create was in these phases, by what it printed.
fn seconds_in(told: &str, phases: &[&str]) -> Result<f64> {
    let told: Value = serde_json::from_str(told)?;
    let timings = told[0]["timings"].as_array().context("timings")?;
    let of = timings.iter().filter(|timing| {
        let phase = timing["phase"].as_str().unwrap_or_default();
        phases.contains(&phase)
    });
    Ok(of.filter_map(|timing| timing["seconds"].as_f64()).sum())
}

/// What the QEMUs of some machines that run at once take together, each page shared among those that have it.
fn memory(world: &World, prefix: &str, more: &[&str]) -> Result<f64> {
    let names: Vec<String> = (1..=IDLE)
        .map(|number| format!("{prefix}{number}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.run(&[&["create"], &names[..], more, &SIZE[..]].concat())?;
    std::thread::sleep(std::time::Duration::from_secs(10));
    let mut sum = 0.0;
    for name in &names {
        let pid = fs::read_to_string(world.machine(name).join("vm/qemu.pid"))?;
        sum += pss(pid.trim().parse()?)?;
    }
    world.run(&[&["rm", "--yes"], &names[..]].concat())?;
    Ok(sum)
}
