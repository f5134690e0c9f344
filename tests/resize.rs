//! Machines that get another size.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;

use serde_json::json;
use snapbox::{assert_data_eq, str};
use support::World;
use support::host::Host;

#[test]
fn a_machine_gets_more_of_everything() {
    let world = World::new();
    world.create(&["web1", "web2", "-l", "role=ci"]).ok();
    world.berth(&["stop", "web1"]).ok();
    let pid = world.machine_pid("web2");

    // One that is off has all of it, one that runs tells what it waits for.
    let resized = world.berth(&["resize", "-l", "role=ci", "--cpus", "4", "--disk", "16M"]);
    let resized = resized.ok();
    assert_eq!(resized.stdout, "web1\nweb2\n");
    let waits = "has its new CPUs and disk after `berth restart web2`";
    assert!(resized.stderr.contains(waits), "{resized:?}");
    assert!(!resized.stderr.contains("web1 has"), "{resized:?}");
    for name in ["web1", "web2"] {
        let row = world.row(name);
        let size = json!([row["cpus"], row["memory"], row["disk"]]);
        assert_eq!(size, json!([4, 64 << 20, 16 << 20]), "{name}");
        let told = fs::read_to_string(world.file(name, "vm/size")).unwrap();
        assert!(told.contains("\"cpus\":4"), "{told}");
    }
    assert_eq!(world.machine_pid("web2"), pid);

    // To be what it is already takes nothing.
    let again = world.berth(&["resize", "web2", "--cpus", "4"]).ok();
    assert!(!again.stderr.contains("restart"), "{again:?}");

    let restarted = world.berth(&["resize", "web1", "web2", "--memory", "32M", "--restart"]);
    let restarted = restarted.ok();
    assert!(!restarted.stderr.contains("after"), "{restarted:?}");
    assert_eq!(world.state("web1"), "stopped");
    assert_eq!(world.state("web2"), "running");
    assert_ne!(world.machine_pid("web2"), pid);
    assert_eq!(world.row("web2")["memory"], 32 << 20);
}

#[test]
fn a_size_that_a_machine_cannot_have_changes_nothing() {
    let world = World::new();
    world.create(&["web1"]).ok();
    let before = fs::read_to_string(world.file("web1", "machine.toml")).unwrap();
    for (arguments, code, words) in [
        (&["web1"][..], 2, "--cpus, --memory or --disk"),
        (&["--cpus", "2"], 2, "name a machine"),
        (&["web1", "--cpus", "0"], 2, "at least one"),
        (&["web1", "--cpus", "many"], 2, "invalid value"),
        (&["web1", "--memory", "1PB"], 2, "1PB"),
        (&["web1", "--memory", "1M"], 2, "less than 16 MiB"),
        (&["web1", "--disk", "4M"], 2, "disks only grow"),
        (&["nobody", "--cpus", "2"], 3, "there is no machine nobody"),
    ] {
        let ran = world.berth(&[&["resize"], arguments].concat());
        ran.code(code).says(words);
    }
    let after = fs::read_to_string(world.file("web1", "machine.toml")).unwrap();
    assert_eq!(before, after);

    let host = Host::start(&world, "host", "");
    let mut create = vec!["create", "h1", "--engine", "none"];
    let options = host.options();
    create.extend(options.iter().map(String::as_str));
    world.berth(&create).ok();
    assert_data_eq!(
        world.berth(&["resize", "h1", "--cpus", "2"]).code(4).told(),
        str![[r#"
...
berth: machine h1: the ssh driver cannot resize machines
...
"#]]
    );
}
