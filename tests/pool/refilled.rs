//! Keeping as many ready as there are to be.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{World, eventually, leftovers};
use crate::{install_engine, is_full, pool, set, waiting};

#[test]
fn a_machine_that_died_or_whose_engine_is_silent_is_not_handed_out_but_replaced() {
    let world = World::new();
    set(&world, "ci", &["--ready", "1", "--wait"]).ok();
    let dead = waiting(&world).remove(0);
    kill(Pid::from_raw(world.machine_pid(&dead)), Signal::SIGKILL).unwrap();
    world
        .create(&["m1"])
        .ok()
        .says("pool ci has no machine ready: one is made");
    eventually("it is replaced", || {
        is_full(&world) && !waiting(&world).contains(&dead)
    });

    let silent = waiting(&world).remove(0);
    let engine = install_engine(&world, &silent);
    assert!(is_full(&world));
    engine.answers("/_ping", "");
    world
        .create(&["m2"])
        .ok()
        .says("pool ci has no machine ready");
    eventually("it is replaced", || {
        is_full(&world) && !waiting(&world).contains(&silent)
    });

    // Nobody asks for one: any command that changes machines sees that one is gone.
    let gone = waiting(&world).remove(0);
    world.berth(&["rm", "-y", &gone]).ok();
    eventually("it is replaced", || {
        is_full(&world) && !waiting(&world).contains(&gone)
    });
    world.berth(&["pool", "rm", "ci"]).ok();
}

#[test]
fn a_pool_that_is_changed_has_other_machines() {
    let world = World::new();
    set(&world, "ci", &["--ready", "2", "--wait"]).ok();
    let before = waiting(&world);
    set(&world, "ci", &["--ready", "1", "--wait"]).ok();
    let one = waiting(&world);
    assert!(
        one.len() == 1 && before.contains(&one[0]),
        "{before:?} {one:?}"
    );
    set(&world, "ci", &["--ready", "1", "--wait", "--cpus", "1"]).ok();
    let other = waiting(&world);
    assert!(other.len() == 1 && other != one);
    assert_eq!(pool(&world)["cpus"], 1);
    set(&world, "ci", &["--ready", "0", "--wait", "--cpus", "1"]).ok();
    assert_eq!(waiting(&world), [""; 0]);
    let ran = world.create(&["m1", "--cpus", "1"]).ok();
    assert!(!ran.stderr.contains("pool"), "{ran:?}");
    world.berth(&["pool", "rm", "ci"]).ok();
}

#[test]
fn why_a_pool_is_not_full_is_told() {
    let world = World::new();
    let never = ["--ready", "1", "-o", "mute=true", "--timeout", "1"];
    set(&world, "ci", &[&never[..], &["--wait"]].concat())
        .code(1)
        .says("did not answer within 1 s");
    let told = pool(&world);
    let error = told["error"].as_str().unwrap();
    assert!(error.contains("did not answer within 1 s"), "{told}");
    assert_eq!(waiting(&world), [""; 0]);
    // It is not tried at every command.
    world.create(&["m1"]).ok();
    assert_eq!(waiting(&world), [""; 0]);
    world.berth(&["pool", "rm", "ci"]).ok();
}

#[test]
fn a_pool_goes_while_its_machines_are_made() {
    let world = World::new();
    set(&world, "ci", &["--ready", "2", "-o", "mute=true"]).ok();
    eventually("they are made", || pool(&world)["making"] == 2);
    assert_eq!(world.berth(&["ls", "-q"]).ok().stdout, "");
    world.berth(&["pool", "rm", "ci"]).ok();
    let left = leftovers::of(&world);
    assert!(left.is_empty(), "{left:#?}");
}
