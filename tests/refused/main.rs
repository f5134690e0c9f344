//! What cannot be done is refused: an exit code, words that help, and nothing changed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod commands;
mod full;
mod names;
mod records;
mod requests;
#[path = "../support/mod.rs"]
mod support;

use support::World;

/// Runs each line of arguments after the first word, which is its title; all must change nothing.
fn table(world: &World, lines: &[&[&str]]) -> String {
    let before = world.snapshot();
    let mut told = String::new();
    for args in lines {
        let ran = world.berth(args);
        assert_ne!(ran.code, 0, "{args:?}: {ran:?}");
        let mut line = args.join(" ");
        if line.len() > 100 {
            line = format!("{}…", &line[..40]);
        }
        let line = line.replace(&world.path("").display().to_string(), "WORLD/");
        told += &format!("$ berth {line}\n{}\n", ran.told());
        world.is_as_it_was(&before, &line);
    }
    told
}

/// A world with one machine, so that its folders are there.
fn world() -> World {
    let world = World::new();
    world.create(&["web1"]).ok();
    world
}
