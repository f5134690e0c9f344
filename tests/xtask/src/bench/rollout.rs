//! A rollout in batches, against the times that its slowest machines take themselves.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

use super::world::{World, printed, target_folder};
use super::{Figure, at_most, plain};
use crate::parts::{cargo, succeed};

/// Each an sshd process on loopback.
const HOSTS: usize = 12;

/// What a machine's change takes: from five seconds to a bit less than seven, as its folder's name has it.
const WORK: &str =
    "n=$(printf %s \"$HOME\" | cksum | cut -c 1-2); exec sleep $((5 + n / 50)).$((n % 10))";

/// Rolls a command out, one machine first and then half of them at a time.
pub fn run() -> Result<Vec<Figure>> {
    let world = World::new()?;
    succeed(&mut cargo("build --profile dist -p berth-driver-sshd"))?;
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", target_folder().join("dist").display());
    let disk = world.file("tiny.qcow2").display().to_string();
    printed(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", &disk, "8M"]))?;
    let names: Vec<String> = (1..=HOSTS).map(|n| format!("m{n:02}")).collect();
    let mut create = world.berth(&["create", "-d", "sshd", "--engine", "none", "--memory"]);
    create.args(["64M", "--image", &disk]).args(&names);
    printed(create.env("PATH", &path))?;
    let outcome = measure(&world, &path);
    // The world's own end knows nothing of where the driver is.
    let mut remove = world.berth(&["rm", "--all", "--force", "--yes"]);
    printed(remove.env("PATH", &path))?;
    outcome
}

fn measure(world: &World, path: &str) -> Result<Vec<Figure>> {
    let mut rollout = world.berth(&["rollout", "exec", "--all", "--yes", "--json"]);
    rollout.args(["--canary", "1", "--batch", "50%", "--", WORK]);
    let begun = Instant::now();
    let told = printed(rollout.env("PATH", path))?;
    let whole = begun.elapsed().as_secs_f64();
    let told: Value = serde_json::from_str(&told)?;
    let mut slowest: BTreeMap<u64, f64> = BTreeMap::new();
    for machine in told["machines"].as_array().context("no machines")? {
        let batch = machine["batch"].as_u64().context("no batch")?;
        let took = machine["duration"].as_f64().context("no duration")?;
        let of = slowest.entry(batch).or_default();
        *of = of.max(took);
    }
    let floor: f64 = slowest.values().sum();
    Ok(vec![
        plain(
            format!(
                "a rollout over {HOSTS} hosts in {} batches, whole",
                slowest.len()
            ),
            whole,
            "s",
        ),
        plain("the slowest machines of its batches, added", floor, "s"),
        at_most("the rollout against them", whole / floor, "×", 1.1),
    ])
}
