//! A machine's life, told by the commands that a user types.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::time::Instant;

use serde_json::Value;
use snapbox::{assert_data_eq, str};
use support::World;

#[test]
fn a_machine_is_made_looked_at_and_removed() {
    let world = World::new();
    let made = world.create(&["web1", "-l", "role=ci", "--cpus", "2"]).ok();
    assert_eq!(made.stdout, "web1\n");

    assert_data_eq!(
        world.berth(&["ls"]).ok().printed(),
        str![[r#"
NAME   ACTIVE   DRIVER   STATE     ENGINE   SSH                    ERROR
web1            sshd     running   none     root@127.0.0.1:PORT

"#]]
    );
    assert_eq!(world.berth(&["ls", "-q"]).ok().stdout, "web1\n");
    let format = "{{.Name}}\\t{{upper .State}}\\t{{json .Labels}}\\t{{.SSH.User}}";
    assert_data_eq!(
        world.berth(&["ls", "--format", format]).ok().printed(),
        str![[r#"
web1	RUNNING	{"role":"ci"}	root

"#]]
    );
    assert_data_eq!(
        world.berth(&["status", "web1"]).ok().printed(),
        str![[r#"
web1: running
  machine    sshd, 2 CPUs, 64 MiB memory, 8 MiB disk
  engine     none
  ssh        root@127.0.0.1 port PORT

"#]]
    );
    assert_eq!(
        world.berth(&["status", "-q", "web1"]).ok().stdout,
        "running\n"
    );
    assert_eq!(world.berth(&["ip", "web1"]).ok().stdout, "127.0.0.1\n");

    let inspected = world.berth(&["inspect", "web1"]).ok().stdout;
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected[0]["record"]["labels"]["role"], "ci");
    assert_eq!(
        inspected[0]["folder"],
        world
            .file("web1", "")
            .display()
            .to_string()
            .trim_end_matches('/')
    );
    // Nothing that is printed has a private key in it.
    assert!(!inspected.to_string().contains("PRIVATE KEY"));

    assert_eq!(world.berth(&["rm", "-y", "web1"]).ok().stdout, "web1\n");
    assert_eq!(world.berth(&["ls", "-q"]).ok().stdout, "");
    world
        .berth(&["ip", "web1"])
        .code(3)
        .says("there is no machine web1");
}

#[test]
fn the_fields_of_ls_json_are_those_that_are_promised() {
    let world = World::new();
    assert_eq!(world.berth(&["ls", "--json"]).ok().stdout, "[]\n");
    world.create(&["web1"]).ok();
    let row = world.row("web1");
    let fields: Vec<&String> = row.as_object().unwrap().keys().collect();
    let promised = "name driver state image engine endpoint address ssh labels cpus memory disk created active error";
    assert_eq!(fields, promised.split(' ').collect::<Vec<_>>());
    assert_eq!(keys(&row["engine"]), ["kind", "version"]);
    assert_eq!(keys(&row["ssh"]), ["host", "port", "user"]);
    assert_eq!(row["memory"], 64 << 20);
    assert_eq!(row["disk"], 8 << 20);
    assert_eq!(row["engine"]["kind"], "none");
    assert_eq!(row["error"], Value::Null);
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn power_goes_off_and_on_and_saying_it_twice_is_no_error() {
    let world = World::new();
    world.create(&["web1"]).ok();
    let port = world.row("web1")["ssh"]["port"].clone();
    let first = world.machine_pid("web1");

    world.berth(&["start", "web1"]).ok();
    assert_eq!(
        world.machine_pid("web1"),
        first,
        "a running machine is left alone"
    );
    for _ in 0..2 {
        assert_eq!(world.berth(&["stop", "web1"]).ok().stdout, "web1\n");
        assert_eq!(world.state("web1"), "stopped");
    }
    assert_eq!(world.row("web1")["ssh"], Value::Null);
    world
        .berth(&["ssh", "web1", "--", "true"])
        .code(4)
        .says("berth start web1");

    world.berth(&["start", "web1"]).ok();
    assert_eq!(world.state("web1"), "running");
    assert_eq!(world.row("web1")["ssh"]["port"], port, "the address stays");
    let second = world.machine_pid("web1");
    world.berth(&["restart", "web1"]).ok();
    assert_ne!(world.machine_pid("web1"), second);
    for _ in 0..2 {
        world.berth(&["kill", "web1"]).ok();
        assert_eq!(world.state("web1"), "stopped");
    }
    world.berth(&["restart", "web1"]).ok();
    assert_eq!(world.state("web1"), "running");
}

#[test]
fn five_machines_are_made_at_once() {
    let world = World::new();
    let names = ["m1", "m2", "m3", "m4", "m5"];
    let made = world.create(&names).ok();
    assert_eq!(made.lines(), names);
    let rows = world
        .berth(&["ls", "--format", "{{.State}} {{.SSH.Port}}"])
        .ok();
    let mut rows = rows.lines();
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(rows.len(), 5, "each has a port of its own: {rows:?}");
    assert!(
        rows.iter().all(|row| row.starts_with("running ")),
        "{rows:?}"
    );

    // One of several that fails is told, and the others are made.
    let partly = world
        .create(&["m6", "m1"])
        .code(5)
        .says("machine m1 exists already");
    assert_eq!(partly.lines(), ["m6"]);
    assert_eq!(world.berth(&["rm", "-y", "--all"]).ok().lines().len(), 6);
}

#[test]
fn a_guest_that_does_not_shut_down_is_killed_after_its_grace() {
    let world = World::new();
    world.create(&["web1", "-o", "stubborn=true"]).ok();
    let began = Instant::now();
    world
        .berth(&["stop", "--grace", "1", "web1"])
        .ok()
        .says("web1 did not shut down within 1 s: it is killed");
    assert!((1..10).contains(&began.elapsed().as_secs()));
    assert_eq!(world.state("web1"), "stopped");
}

#[test]
fn a_guest_that_never_answers_fails_by_the_deadline_and_can_be_resumed_or_removed() {
    let world = World::new();
    let failed = world.create(&["web1", "-o", "mute=true", "--timeout", "1"]);
    assert_data_eq!(
        failed.told(),
        str![[r#"
exit 1
TIME web1: Importing the disk image
TIME web1: Storing the image
TIME web1: Creating the machine
TIME web1: a machine of processes only
TIME web1: Starting
TIME web1: Starting sshd
TIME web1: Booting
TIME web1: Connecting
berth: machine web1 did not answer within 1 s: [127.0.0.1]:PORT did not answer over SSH within 1 s: Connection refused (os error 111)
    | mute: up, and silent
hint: `berth logs web1` shows the whole console; `--timeout` gives a slow guest more time

"#]]
    );
    let row = world.row("web1");
    assert_eq!(row["state"], "creating");
    assert!(
        row["error"]
            .as_str()
            .unwrap()
            .starts_with("create failed at connect: "),
        "{row}"
    );
    assert_data_eq!(
        world.berth(&["logs", "web1"]).ok().printed(),
        str![[r#"
mute: up, and silent

"#]]
    );
    world
        .berth(&["start", "web1"])
        .code(4)
        .says("berth create --resume web1");
    // Still silent: resuming fails the same way and loses nothing.
    world
        .berth(&["create", "--resume", "--timeout", "1", "web1"])
        .code(1)
        .says("did not answer within 1 s");
    // Its owner finds the fault.
    let path = world.file("web1", "machine.toml");
    let record = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, record.replace("mute = \"true\"", "mute = \"false\"")).unwrap();
    world.berth(&["kill", "web1"]).ok();
    world.berth(&["create", "--resume", "web1"]).ok();
    assert_eq!(world.row("web1")["error"], Value::Null);
    world
        .berth(&["create", "--resume", "web1"])
        .code(4)
        .says("there is nothing to resume");
}

#[test]
fn selectors_pick_machines() {
    let world = World::new();
    world
        .create(&["a1", "a2", "-l", "role=ci", "-l", "size=big"])
        .ok();
    world.create(&["b1", "-l", "role=web"]).ok();
    world.berth(&["stop", "a2"]).ok();
    let picked = |args: &[&str]| {
        let args = [&["ls", "-q"], args].concat();
        world.berth(&args).ok().stdout.replace('\n', " ")
    };
    assert_eq!(picked(&["-l", "role=ci"]), "a1 a2 ");
    assert_eq!(picked(&["-l", "role"]), "a1 a2 b1 ");
    assert_eq!(picked(&["-l", "role=ci", "--state", "running"]), "a1 ");
    assert_eq!(picked(&["--driver", "sshd", "--state", "stopped"]), "a2 ");
    assert_eq!(picked(&["b1", "a1"]), "b1 a1 ");
    assert_eq!(picked(&["-l", "role=db"]), "", "a listing may be empty");
    assert_eq!(picked(&["b1", "a1", "-l", "size=big"]), "a1 ");
    world
        .berth(&["stop", "-l", "role=db"])
        .code(2)
        .says("no machine matches");
    // A command that changes something never takes silence for everything.
    world.berth(&["stop"]).code(2).says("name a machine");
    assert_eq!(
        world.berth(&["rm", "-y", "-l", "role=ci"]).ok().lines(),
        ["a1", "a2"]
    );
    assert_eq!(picked(&[]), "b1 ");
}

#[test]
fn a_vm_that_dies_while_it_boots_is_given_one_more_try() {
    let world = World::new();
    world
        .create(&["web1", "-o", "frail=true"])
        .ok()
        .says("its sshd died; it is started once more");
    assert_eq!(world.state("web1"), "running");
}
