//! Many berths at once over the same machines.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::Value;
use support::{World, eventually};

/// A command that is running, and the file that it says everything into: a pipe that nobody reads yet would hold a
/// talkative one up.
fn quietly(world: &World, args: &[&str]) -> (Child, File) {
    let said = tempfile::tempfile_in(world.path("")).unwrap();
    let output = || Stdio::from(said.try_clone().unwrap());
    let mut command = world.command(args);
    let child = command.stdout(output()).stderr(output()).spawn().unwrap();
    (child, said)
}

/// How the command ended, and all that it said.
fn outcome((mut child, mut said): (Child, File)) -> (Option<i32>, String) {
    let code = child.wait().unwrap().code();
    let mut text = String::new();
    said.rewind().unwrap();
    said.read_to_string(&mut text).unwrap();
    (code, text)
}

#[test]
fn two_hundred_commands_at_once_corrupt_and_lose_nothing() {
    let world = World::new();
    let names: Vec<String> = (1..=20).map(|n| format!("m{n:02}")).collect();
    let args: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .chain(["-l", "of=many"])
        .collect();
    world.create(&args).ok();
    let records = || -> Vec<Vec<u8>> {
        let read = |name| fs::read(world.file(name, "machine.toml")).unwrap();
        names.iter().map(|name| read(name.as_str())).collect()
    };
    let before = records();

    let commands = (0..200).map(|number| {
        let name = names[number * 7 % 20].as_str();
        match number % 10 {
            0 => vec!["ls", "--timeout", "60"],
            1 => vec!["start", name],
            2 => vec!["inspect", name],
            3 => vec!["stop", name],
            4 => vec!["ls", "-q", "-l", "of=many"],
            5 => vec!["status", "--json", "--all", "--timeout", "60"],
            6 => vec!["kill", name],
            7 => vec!["ip", name],
            8 => vec!["ssh-config", name],
            _ => vec!["restart", name],
        }
    });
    let running: Vec<_> = commands
        .map(|args| (quietly(&world, &args), args))
        .collect();
    for (command, args) in running {
        let (code, said) = outcome(command);
        assert_eq!(code, Some(0), "{args:?}: {said}");
    }

    assert!(records() == before, "every record is what it was");
    let rows = world
        .berth(&["ls", "--json", "--timeout", "60"])
        .ok()
        .stdout;
    let rows: Value = serde_json::from_str(&rows).unwrap();
    for (row, name) in rows.as_array().unwrap().iter().zip(&names) {
        assert_eq!(row["name"], **name);
        assert!(
            row["state"] == "running" || row["state"] == "stopped",
            "{row}"
        );
        assert_eq!(row["error"], Value::Null, "{row}");
    }
    // No lock is left that holds anybody up, and no half-written file.
    world.berth(&["start", "--all"]).ok();
    assert_eq!(
        world
            .berth(&["ls", "--state", "running", "-q"])
            .ok()
            .lines(),
        names
    );
    assert_eq!(drafts(&world.data()), Vec::<String>::new());
}

/// Files that are written before they are moved to their place.
fn drafts(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with('.') {
            found.push(path.display().to_string());
        }
        if path.is_dir() {
            found.extend(drafts(&path));
        }
    }
    found
}

#[test]
fn of_several_creates_of_one_name_one_wins_and_the_others_say_why() {
    let world = World::new();
    let args = world.create_args(&["m1"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let children: Vec<Child> = (0..6).map(|_| world.background(&args)).collect();
    let mut won = 0;
    for child in children {
        let ran = world.wait(child);
        match ran.code {
            0 => won += 1,
            4 => {
                // Who has only just taken the lock has not yet put its name to it.
                let told = ["machine m1 is busy: ", "machine m1 exists already"];
                let told = told.iter().any(|words| ran.stderr.contains(words));
                assert!(told, "{ran:?}");
            }
            _ => panic!("{ran:?}"),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(world.state("m1"), "running");
    world.berth(&["ssh", "m1", "--", "true"]).ok();
}

#[test]
fn who_waits_for_a_machine_that_is_removed_hears_that_it_is_gone() {
    let world = World::new();
    world.create(&["m1", "-o", "stubborn=true"]).ok();
    let stop = world.background(&["stop", "--grace", "2", "m1"]);
    eventually("the stop is under way", || world.state("m1") == "stopping");
    world
        .create(&["m1"])
        .code(4)
        .says("machine m1 is busy: process ");
    let waiting: Vec<Child> = [
        &["rm", "-y", "m1"][..],
        &["start", "m1"],
        &["restart", "--grace", "0", "m1"],
        &["kill", "m1"],
        &["provision", "m1"],
        &["rm", "-y", "m1"],
    ]
    .iter()
    .map(|args| world.background(args))
    .collect();
    world.wait(stop).ok();
    let mut removed = 0;
    for child in waiting {
        let ran = world.wait(child);
        // What came before the removal succeeded or found the machine off; what came after it found none.
        assert!([0, 3, 4].contains(&ran.code), "{ran:?}");
        removed += i32::from(ran.code == 0 && ran.stderr.contains("Removing"));
    }
    assert_eq!(removed, 1);
    assert_eq!(world.row("m1"), Value::Null);
    // That nothing is left, not even a lock, is checked when the world ends.
}
