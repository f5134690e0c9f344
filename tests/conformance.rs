//! Every driver keeps the same promises: `berth driver check`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::Value;
use support::World;
use support::host::Host;

const PYTHON: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/drivers/api/examples/berth-driver-python"
);

fn with_python() -> World {
    let world = World::new();
    symlink(PYTHON, world.path("bin/berth-driver-python")).unwrap();
    world
}

#[track_caller]
fn keeps_its_promises(world: &World, driver: &str) {
    let image = world.image();
    let rest = ["--image", &image, "--memory", "64M"];
    assert!(promises_kept(world, driver, &rest) > 15);
}

/// How many promises there are, all kept.
#[track_caller]
fn promises_kept(world: &World, driver: &str, rest: &[&str]) -> usize {
    let args = ["driver", "check", driver, "--json", "--timeout", "60"];
    let ran = world.berth(&[&args[..], rest].concat());
    let cases: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
    let cases = cases.as_array().unwrap();
    let broken: Vec<_> = cases
        .iter()
        .filter(|case| !case["broken"].is_null())
        .collect();
    assert!(broken.is_empty() && ran.code == 0, "{broken:#?}");
    assert_eq!(world.berth(&["ls", "-q"]).ok().stdout, "");
    cases.len()
}

#[test]
fn the_driver_of_hosts_that_run_already_keeps_its_promises() {
    let world = World::new();
    let host = Host::start(&world, "old", "");
    let options = host.options();
    let options: Vec<&str> = options.iter().skip(2).map(String::as_str).collect();
    assert!(promises_kept(&world, "ssh", &options) > 7);
}

#[test]
fn a_driver_in_rust_keeps_its_promises() {
    keeps_its_promises(&World::new(), "sshd");
}

#[test]
fn the_driver_in_python_keeps_its_promises() {
    keeps_its_promises(&with_python(), "python");
}

#[test]
fn a_machine_of_the_driver_in_python_lives_a_whole_life() {
    let world = with_python();
    let image = world.image();
    let create = ["create", "py1", "py2", "-d", "python", "--engine", "none"];
    world
        .berth(&[&create[..], &["--image", &image]].concat())
        .ok();
    assert_eq!(
        world.berth(&["ssh", "py1", "--", "echo hi"]).ok().stdout,
        "hi\n"
    );
    world.berth(&["restart", "py1"]).ok();
    world.berth(&["stop", "--all"]).ok();
    assert_eq!(world.state("py1"), "stopped");
    world.berth(&["start", "py1"]).ok();
    fs::write(world.path("note"), "kept").unwrap();
    let to = format!("py1:{}", world.path("copy").display());
    world.berth(&["cp", "note", &to]).ok();
    assert_eq!(fs::read(world.path("copy")).unwrap(), b"kept");
    world
        .berth(&[
            "create",
            "py3",
            "-d",
            "python",
            "--image",
            &image,
            "-o",
            "color=red",
        ])
        .code(2)
        .says("color");
    world.berth(&["rm", "--yes", "--all"]).ok();
}

#[test]
fn a_promise_that_is_broken_is_told() {
    let world = World::new();
    // As the one in Python, but it forgets its port.
    let text = fs::read_to_string(PYTHON).unwrap();
    let forgets = "while number := port(machine): os.remove";
    assert!(text.contains(forgets));
    let text = text
        .replace(forgets, "while False: os.remove")
        .replace("\"python\"", "\"forgetful\"");
    let path = world.path("bin/berth-driver-forgetful");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let image = world.image();
    let ran = world
        .berth(&[
            "driver",
            "check",
            "forgetful",
            "--memory",
            "64M",
            "--image",
            &image,
        ])
        .code(1);
    let told = ran.stdout.lines().find(|line| line.contains("NO "));
    assert!(
        told.unwrap().contains("the machine still has port"),
        "{ran:?}"
    );
    // Berth does not know whose they are.
    fs::remove_dir_all(world.data().join("ports")).unwrap();
}

#[test]
fn the_protocol_is_published() {
    let world = World::new();
    let schema = world.berth(&["driver", "schema"]).ok().stdout;
    let schema: Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["protocol"], 1);
    let machine = &schema["$defs"]["Machine"]["properties"];
    assert!(machine["folder"].is_object() && machine["spec"].is_object());
}
