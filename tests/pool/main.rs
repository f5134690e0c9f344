//! Machines that are ready before anybody asks for them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod killed;
mod refilled;
mod refused;
mod taken;

#[path = "../support/mod.rs"]
mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{Ran, World, engine, eventually};

/// `berth pool set`, of machines as `World::create` makes them.
fn set(world: &World, pool: &str, more: &[&str]) -> Ran {
    let mut args = vec!["pool", "set", pool];
    let like = world.create_args(more);
    args.extend(like[1..].iter().map(String::as_str));
    world.berth(&args)
}

fn waiting(world: &World) -> Vec<String> {
    let listed = world.berth(&["ls", "--waiting", "-q"]).ok();
    listed.lines().into_iter().map(str::to_owned).collect()
}

/// The only pool, by `berth pool ls --json`.
fn pool(world: &World) -> Value {
    let told = world.berth(&["pool", "ls", "--json"]).ok().stdout;
    serde_json::from_str::<Value>(&told).unwrap()[0].clone()
}

fn is_full(world: &World) -> bool {
    let pool = pool(world);
    pool["ready"] == pool["wanted"] && pool["making"] == 0
}

fn hostname(world: &World, machine: &str) -> String {
    let ran = world.berth(&["ssh", machine, "--", "cat /proc/sys/kernel/hostname"]);
    ran.ok().stdout.trim().to_owned()
}

/// Gives a machine that waits an engine. Its supervisor was started for one without.
fn install_engine(world: &World, name: &str) -> engine::Engine {
    let supervisor = world.supervisor(name)["pid"].as_i64().unwrap();
    let engine = engine::install(world, name);
    kill(Pid::from_raw(supervisor as i32), Signal::SIGKILL).unwrap();
    eventually("its supervisor is gone", || {
        world.supervisor(name).is_null()
    });
    world.berth(&["start", name]).ok();
    engine
}
