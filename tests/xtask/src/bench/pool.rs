//! Machines that are taken from a pool against such as are made, both by User Mode Linux.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::world::{World, get_version, median, timed};
use super::{Figure, at_most, plain};

const ROUNDS: usize = 5;

/// What every machine is like.
const LIKE: [&str; 4] = ["--driver", "uml", "--memory", "512M"];

/// Alternates both, so that the computer's moods meet both. The pool is full before each is timed.
pub fn run() -> Result<Vec<Figure>> {
    let world = World::new()?;
    world.run(&["image", "build", "debian-13-docker", "uml-kernel"])?;
    let (mut colds, mut taken) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        fill(&world)?;
        taken.push(ready(&world, &[])?);
        fill(&world)?;
        colds.push(ready(&world, &["--no-pool"])?);
    }
    fill(&world)?;
    let told: Value = serde_json::from_str(&world.run(&["pool", "ls", "--json"])?)?;
    let cost = |what: &str| told[0][what].as_f64().context("what it costs");
    let megabytes = f64::from(1 << 20);
    let (cold, take) = (median(colds).as_secs_f64(), median(taken).as_secs_f64());
    Ok(vec![
        plain("cold create → the engine answers", cold, "s"),
        at_most("from a pool → the engine answers", take, "s", 0.3),
        plain("from a pool against cold", take / cold, "×"),
        plain(
            "a machine that waits, memory (PSS)",
            cost("idle_memory")? / megabytes,
            "MiB",
        ),
        plain(
            "a machine that waits, disk",
            cost("idle_disk")? / megabytes,
            "MiB",
        ),
    ])
}

fn fill(world: &World) -> Result<()> {
    world.run(
        &[
            &["pool", "set", "bench", "--ready", "1", "--wait"],
            &LIKE[..],
        ]
        .concat(),
    )?;
    Ok(())
}

/// From the create's beginning to an answer of its engine.
fn ready(world: &World, more: &[&str]) -> Result<Duration> {
    let begun = Instant::now();
    timed(&mut world.berth(&[&["create", "m1"], more, &LIKE[..]].concat()))?;
    get_version(&world.machine("m1").join("docker.sock"))?;
    let took = begun.elapsed();
    world.run(&["rm", "--yes", "m1"])?;
    Ok(took)
}
