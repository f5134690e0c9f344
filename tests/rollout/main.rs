//! `berth rollout` on sshd machines: in batches, stopped by failures, killed and resumed, kept apart by locks.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod ends;
mod faults;
mod locks;
mod many;
mod refused;

#[path = "../support/mod.rs"]
mod support;

use std::fs;

use serde_json::Value;
use snapbox::{assert_data_eq, str};
use support::{Ran, World};

/// What is told without what differs from run to run: times, and the rollout's name.
fn told(ran: &Ran) -> String {
    let mut out = String::new();
    for line in ran.told().lines() {
        let line = match line.rsplit_once(" (") {
            Some((line, time)) if time.ends_with(" s)") => format!("{line} (TIME)"),
            _ => line.to_owned(),
        };
        let words = line.split(' ').map(|word| {
            let inner = word.trim_matches(|c: char| !c.is_ascii_digit());
            let digits = inner.replace('-', "");
            match inner.len() >= 15 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
                true => word.replace(inner, "ID"),
                false => word.to_owned(),
            }
        });
        out += &words.collect::<Vec<_>>().join(" ");
        out.push('\n');
    }
    out
}

fn world(names: &[&str]) -> World {
    let world = World::new();
    world.create(names).ok();
    world
}

/// The last rollout, by `berth rollout status --json`.
fn status(world: &World) -> Value {
    let ran = world.berth(&["rollout", "status", "--json"]).ok();
    serde_json::from_str(&ran.stdout).unwrap()
}

/// `name:state` of each machine of the last rollout.
fn states(world: &World) -> String {
    let status = status(world);
    let machines = status["machines"].as_array().unwrap().iter();
    let states = machines.map(|machine| {
        let word = |key: &str| machine[key].as_str().unwrap().to_owned();
        format!("{}:{}", word("name"), word("state"))
    });
    states.collect::<Vec<_>>().join(" ")
}

/// Has every run of the command count in the machine's own folder, and fail in the machine that `bad` says.
fn counting(bad: &str) -> String {
    format!("echo x >>$HOME/ran; case $HOME in */{bad}/*) echo it is broken >&2; exit 3;; esac")
}

/// How often the command ran in a machine.
fn ran_in(world: &World, name: &str) -> usize {
    let text = fs::read_to_string(world.file(name, "vm/ran"));
    text.map_or(0, |text| text.lines().count())
}

#[test]
fn a_broken_machine_stops_it_and_resume_does_the_rest_once_it_is_mended() {
    let world = world(&["web1", "web2", "web3", "web4", "web5"]);
    let script = "echo x >>$HOME/ran; if [ -e $HOME/broken ]; then echo it is broken >&2; exit 3; fi; echo fine";
    fs::write(world.file("web3", "vm/broken"), "").unwrap();
    let all = ["rollout", "exec", "--all", "--batch", "2"];
    let dry = world.berth(&[&all[..], &["--dry-run", "--", script]].concat());
    let dry = dry.ok();
    assert_data_eq!(
        dry.printed(),
        str![[r#"
MACHINE   NOW         THEN   BATCH
web1      no engine   exec   1
web2      no engine   exec   2
web3      no engine   exec   2
web4      no engine   exec   3
web5      no engine   exec   3

"#]]
    );
    assert_data_eq!(
        told(&dry),
        str![[r#"
exit 0
berth: exec of 5 machines in 3 batches of 1, 2, 2; it stops when one fails

"#]]
    );
    assert!(!world.data().join("rollouts").exists());

    let ran = world.berth(&[&all[..], &["--yes", "--", script]].concat());
    let ran = ran.code(5);
    assert!(ran.stdout.ends_with("web1: fine\nweb2: fine\n"), "{ran:?}");
    assert_data_eq!(
        told(&ran),
        str![[r#"
exit 5
berth: exec of 5 machines in 3 batches of 1, 2, 2; it stops when one fails
TIME rollout: batch 1 of 3: 1 machine
TIME rollout: batch 2 of 3: 2 machines
berth: machine web3: exit 3: it is broken
berth: rollout ID stopped: 1 failed, and none may: 2 done; 1 failed: web3; 2 not begun: web[4-5] (TIME)
hint: `berth rollout resume ID` goes on, with those that failed too; `berth rollout abort ID` leaves all as it is

"#]]
    );
    assert_eq!(
        states(&world),
        "web1:done web2:done web3:failed web4:waiting web5:waiting"
    );
    let seen = world.berth(&["rollout", "status"]).ok();
    assert!(
        seen.stdout
            .contains("web3: machine web3: exit 3: it is broken"),
        "{seen:?}"
    );

    // Another one is not begun on what has not ended.
    world
        .berth(&["rollout", "restart", "web5", "--yes"])
        .code(4)
        .says("web5 is in rollout")
        .says("has not ended")
        .says("berth rollout abort");

    fs::remove_file(world.file("web3", "vm/broken")).unwrap();
    world.berth(&["rollout", "resume"]).ok();
    assert_eq!(
        states(&world),
        "web1:done web2:done web3:done web4:done web5:done"
    );
    let times = ["web1", "web2", "web3", "web4", "web5"].map(|name| ran_in(&world, name));
    assert_eq!(times, [1, 1, 2, 1, 1]);
    world.berth(&["rollout", "resume"]).code(3);
    let id = status(&world)["id"].as_str().unwrap().to_owned();
    world
        .berth(&["rollout", "resume", &id])
        .code(4)
        .says("all of it is done");
    let listed = world.berth(&["rollout", "history", "-q"]).ok();
    assert_eq!(listed.lines(), [&id]);
}

#[test]
fn as_many_may_fail_as_was_said_and_a_gate_counts() {
    let world = world(&["a1", "a2", "a3"]);
    let args = ["rollout", "exec", "--all", "--yes", "--json"];
    let some = ["--max-failures", "1", "--batch", "1", "--"];
    let script = counting("a2");
    let ran = world
        .berth(&[&args[..], &some, &[&script]].concat())
        .code(5);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(told["state"], "done, some failed");
    assert_eq!(
        told["machines"][1]["error"],
        "machine a2: exit 3: it is broken"
    );
    assert_eq!(ran_in(&world, "a3"), 1);

    let gate = "test \"$BERTH_MACHINE\" != a1 || { echo not this one >&2; false; }";
    let ran = world.berth(&[&args[..4], &["--gate", gate, "--", "true"]].concat());
    ran.code(5)
        .says("the gate says no: not this one")
        .says("2 not begun: a[2-3]");
    world.berth(&["rollout", "abort"]).ok();
    let restarted = world.berth(&["rollout", "restart", "a3", "--yes"]).ok();
    assert!(
        restarted.stdout.ends_with("a3: restarted\n"),
        "{restarted:?}"
    );
    let history = world.berth(&["rollout", "history", "--format", "{{.Kind}} {{.State}}"]);
    assert_eq!(
        history.ok().lines(),
        ["restart done", "exec aborted", "exec done, some failed"]
    );
}
