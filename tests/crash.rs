//! `kill -9` of berth at every point that its journal knows, and other ends that come too early.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::sync::Mutex;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use support::{World, engine, eventually, leftovers};

/// What a killed process ends with.
const KILLED: i32 = -9;

/// A journaled point as `BERTH_DIE_AT` names it.
#[derive(Debug, Clone)]
struct Point {
    step: String,
    at: String,
}

/// The points of an operation, by the journal that one run of it wrote: steps that are added later are walked too.
fn points(journal: &str, operation: &str) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for line in journal.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let Some(step) = entry["step"].as_str() else {
            continue;
        };
        assert_eq!(entry["operation"], operation);
        let at: &[&str] = match entry["event"].as_str().unwrap() {
            "begin" => &["begin"],
            _ => &["work", "done"],
        };
        let (step, at) = (step.to_owned(), at.iter());
        points.extend(at.map(|at| Point {
            step: step.clone(),
            at: (*at).to_owned(),
        }));
    }
    assert!(points.len() > 5, "{points:?}");
    points
}

/// Runs berth and has it killed at a point.
fn die(world: &World, operation: &str, point: &Point, args: &[&str]) {
    let at = format!("{operation}:{}:{}", point.step, point.at);
    let ran = world.finish(world.command(args).env("BERTH_DIE_AT", &at));
    assert_eq!(ran.code, KILLED, "at {at}: {ran:#?}");
}

/// Does `work` for all points, in a few worlds at once.
fn walk(points: Vec<Point>, work: impl Fn(&World, &Point) + Sync) {
    let todo = Mutex::new(points);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let world = World::new();
                loop {
                    let Some(point) = todo.lock().unwrap().pop() else {
                        return;
                    };
                    work(&world, &point);
                    let left = leftovers::of(&world);
                    assert!(left.is_empty(), "after {point:?}: {left:#?}");
                }
            });
        }
    });
}

#[test]
fn create_killed_at_every_point_can_be_resumed_and_removed() {
    let journal = {
        let world = World::new();
        world.create(&["m1", "--tls"]).ok();
        fs::read_to_string(world.file("m1", "journal")).unwrap()
    };
    walk(points(&journal, "create"), |world, point| {
        for name in ["resumed", "removed"] {
            let args = world.create_args(&[name, "--tls"]);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            die(world, "create", point, &args);
            let row = world.row(name);
            assert_eq!(row["state"], "creating", "{point:?}");
            let told = format!("create broke off at {}", point.step);
            assert_eq!(row["error"], told, "{point:?}");
            world.create(&[name]).code(4).says("exists already");
            world
                .berth(&["start", name])
                .code(4)
                .says("create --resume");
        }
        world.berth(&["create", "--resume", "resumed"]).ok();
        let row = world.row("resumed");
        assert_eq!(
            (&row["state"], &row["error"]),
            (&"running".into(), &Value::Null)
        );
        world.berth(&["ssh", "resumed", "--", "true"]).ok();
        world.berth(&["rm", "-y", "resumed", "removed"]).ok();
    });
}

#[test]
fn start_killed_at_every_point_is_done_by_the_next_start() {
    let with_engine = {
        let world = World::new();
        world.create(&["m1"]).ok();
        let _engine = engine::install(&world, "m1");
        world.berth(&["restart", "m1"]).ok();
        fs::read_to_string(world.file("m1", "journal")).unwrap()
    };
    walk(points(&with_engine, "start"), |world, point| {
        world.create(&["m1"]).ok();
        let _engine = engine::install(world, "m1");
        world.berth(&["kill", "m1"]).ok();
        die(world, "start", point, &["start", "m1"]);

        let row = world.row("m1");
        let runs = leftovers::lives(world.machine_pid("m1"));
        assert_eq!(
            row["state"],
            if runs { "running" } else { "stopped" },
            "{point:?}"
        );
        let supervised = !world.supervisor("m1").is_null();
        let told = row["error"].as_str().unwrap_or("");
        assert_eq!(
            told.contains("supervisor"),
            runs && !supervised,
            "{point:?}: {row}"
        );

        world.berth(&["start", "m1"]).ok();
        let row = world.row("m1");
        assert_eq!(
            (&row["state"], &row["error"]),
            (&"running".into(), &Value::Null)
        );
        assert_eq!(engine::ping(world, "m1"), "OK");
        world.berth(&["rm", "-y", "m1"]).ok();
    });
}

#[test]
fn resize_killed_at_every_point_is_done_by_the_next_resize() {
    let resize = ["resize", "m1", "--cpus", "3", "--memory", "128M"];
    let journal = {
        let world = World::new();
        world.create(&["m1"]).ok();
        world.berth(&resize).ok();
        fs::read_to_string(world.file("m1", "journal")).unwrap()
    };
    walk(points(&journal, "resize"), |world, point| {
        world.create(&["m1"]).ok();
        die(world, "resize", point, &resize);
        let row = world.row("m1");
        assert_eq!(row["state"], "running", "{point:?}");
        let told = format!("resize broke off at {}", point.step);
        assert_eq!(row["error"], told, "{point:?}");

        let again = world.berth(&resize).ok();
        let waits = "has its new CPUs and memory after `berth restart m1`";
        assert!(again.stderr.contains(waits), "{point:?}: {again:?}");
        let row = world.row("m1");
        assert_eq!((&row["cpus"], &row["error"]), (&3.into(), &Value::Null));
        world.berth(&["rm", "-y", "m1"]).ok();
    });
}

#[test]
fn rm_killed_at_every_point_is_done_by_the_next_rm() {
    let make = |world: &World| {
        world.create(&["m1"]).ok();
        let engine = engine::install(world, "m1");
        world.berth(&["start", "m1"]).ok();
        world.berth(&["use", "m1"]).ok();
        engine
    };
    let journal = {
        let world = World::new();
        let _engine = make(&world);
        journal_of_rm(&world)
    };
    walk(points(&journal, "rm"), |world, point| {
        let _engine = make(world);
        die(world, "rm", point, &["rm", "-y", "m1"]);
        let row = world.row("m1");
        let told = format!("rm broke off at {}", point.step);
        assert_eq!(row["error"], told, "{point:?}");
        world.berth(&["start", "m1"]).code(4).says("berth rm m1");
        world
            .berth(&["create", "--resume", "m1"])
            .code(4)
            .says("berth rm m1");
        world.berth(&["rm", "-y", "m1"]).ok();
    });
}

/// A removal's journal goes with the machine: it is caught while it is written.
fn journal_of_rm(world: &World) -> String {
    use std::io::{Read, Seek};
    let path = world.file("m1", "journal");
    let removal = world.background(&["rm", "-y", "m1"]);
    let mut seen = String::new();
    let mut file = loop {
        let mut file = fs::File::open(&path).unwrap();
        seen.clear();
        file.read_to_string(&mut seen).unwrap();
        if seen.contains("\"operation\":\"rm\"") {
            break file;
        }
    };
    world.wait(removal).ok();
    file.rewind().unwrap();
    seen.clear();
    file.read_to_string(&mut seen).unwrap();
    seen
}

#[test]
fn what_a_berth_left_that_was_killed_around_the_birth_of_a_machine_is_cleared() {
    let world = World::new();
    world.create(&["m1"]).ok();
    world.berth(&["kill", "m1"]).ok();
    // The folder on its way in, and on its way out.
    let machines = world.data().join("machines");
    let made = fs::read_dir(&machines).unwrap().count();
    assert_eq!(made, 1);
    for (name, prefix) in [("m2", ".new-"), ("m3", ".rm-")] {
        let folder = machines.join(format!("{prefix}{name}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("machine.toml"), "half").unwrap();
        assert_eq!(world.berth(&["ls", "-q"]).ok().stdout, "m1\n");
        world.create(&[name]).ok();
        world.berth(&["rm", "-y", name]).ok();
        assert!(!folder.exists(), "{}", folder.display());
    }
}

#[test]
fn ctrl_c_in_the_middle_of_a_create_says_what_is_left() {
    // Once to berth alone, and once to its whole process group, as a terminal does it.
    for whole_group in [false, true] {
        let world = World::new();
        let args = world.create_args(&["m1", "-o", "mute=true"]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let child = world
            .command(&args)
            .process_group(0)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        eventually("the machine starts", || world.file("m1", "vm/pid").exists());
        let pid = Pid::from_raw(child.id() as i32);
        match whole_group {
            true => killpg(pid, Signal::SIGINT).unwrap(),
            false => kill(pid, Signal::SIGINT).unwrap(),
        }
        let ran = world.wait(child).code(130);
        let ran = ran.says("berth: interrupted").says("berth create --resume");
        assert!(ran.says("berth rm").stdout.is_empty());
        let row = world.row("m1");
        assert_eq!(row["state"], "creating");
        assert!(
            row["error"]
                .as_str()
                .unwrap()
                .starts_with("create broke off at ")
        );
        world.berth(&["rm", "-y", "m1"]).ok();
    }
}
