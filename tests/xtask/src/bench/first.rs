//! A newcomer's first command, on a fresh clone and with nothing cached but the toolchain's crates.

use std::process::Command;

use anyhow::{Context, Result};

use super::world::{World, printed, timed};
use super::{Figure, plain};
use crate::parts::workspace;

/// Clones, builds, and runs `up`.
pub fn run() -> Result<Vec<Figure>> {
    let world = World::new()?;
    let clone = world.file("clone");
    printed(
        Command::new("git")
            .args(["clone", "--quiet"])
            .arg(workspace())
            .arg(&clone),
    )?;
    let target = world.file("target");
    let build = timed(
        Command::new("cargo")
            .args(["build", "--release"])
            .env("CARGO_TARGET_DIR", &target)
            .current_dir(&clone),
    )?;
    let mut figures = vec![plain("cargo build --release", build.as_secs_f64(), "s")];
    let mut packages = Command::new(target.join("release/berth"));
    packages.args(["doctor", "--fix", "--yes"]);
    world
        .enter(&mut packages)
        .env("BERTH_IMAGES", world.file("images"));
    figures.push(plain(
        "doctor --fix",
        timed(&mut packages)?.as_secs_f64(),
        "s",
    ));
    let mut create = Command::new(target.join("release/berth"));
    create.args(["create", "berth", "--json"]);
    world
        .enter(&mut create)
        .env("BERTH_IMAGES", world.file("images"));
    let made: serde_json::Value = serde_json::from_str(&printed(&mut create)?)?;
    let timings = made[0]["timings"].as_array().context("timings")?;
    for timing in timings {
        let phase = timing["phase"].as_str().unwrap_or_default();
        figures.push(plain(
            phase,
            timing["seconds"].as_f64().unwrap_or_default(),
            "s",
        ));
    }
    let total: f64 = figures.iter().map(|figure| figure.value).sum();
    figures.push(plain("in all", total, "s"));
    Ok(figures)
}
