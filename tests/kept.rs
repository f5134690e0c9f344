//! Suspending, snapshots and copies: what cannot be done is refused before anything is done.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use snapbox::{assert_data_eq, str};
use support::World;

/// Runs each line; all must fail, tell why, and change nothing.
fn refused(world: &World, lines: &[&[&str]]) -> String {
    let before = world.snapshot();
    let mut told = String::new();
    for args in lines {
        let ran = world.berth(args);
        assert_ne!(ran.code, 0, "{args:?}: {ran:?}");
        let line = args.join(" ");
        told += &format!("$ berth {line}\n{}\n", ran.told());
        world.is_as_it_was(&before, &line);
    }
    told
}

#[test]
fn a_driver_that_can_none_of_it() {
    let world = World::new();
    world.create(&["web1"]).ok();
    let told = refused(
        &world,
        &[
            &["suspend", "web1"],
            &["resume", "web1"],
            &["snapshot", "create", "web1"],
            &["snapshot", "ls", "web1"],
            &["snapshot", "restore", "web1", "s1"],
            &["snapshot", "rm", "web1", "s1"],
            &["clone", "web1", "web2"],
        ],
    );
    assert_data_eq!(told, str![]);
    assert_eq!(world.state("web1"), "running");
}

#[test]
fn names_and_machines_that_are_none() {
    let world = World::new();
    world.create(&["web1"]).ok();
    let told = refused(
        &world,
        &[
            &["suspend"],
            &["suspend", "web9"],
            &["resume", "web9"],
            &["snapshot", "create", "web1", "../x"],
            &["snapshot", "create", "web1", "-x"],
            &["snapshot", "create", "web1", "a b"],
            &["snapshot", "create", "web1", ""],
            &["snapshot", "ls", "web9"],
            &["snapshot", "restore", "web1"],
            &["snapshot", "rm", "web1"],
            &["clone", "web1"],
            &["clone", "web9", "web2"],
            &["clone", "web1", "Web"],
            &["clone", "web1", "web2", "web2"],
        ],
    );
    assert_data_eq!(told, str![]);
}
