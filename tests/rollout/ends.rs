//! Rollouts that end too early: killed, interrupted, cut off, and machines that die under them.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::host::Host;
use crate::support::{World, eventually};
use crate::{counting, ran_in, states, status, world};

/// What a killed process ends with.
const KILLED: i32 = -9;

#[test]
fn killed_at_every_point_it_is_resumed_to_the_same_end() {
    let world = world(&["m1", "m2", "m3"]);
    // A whole one tells the points; those before a line is written and after it are all there are.
    let script = counting("m2");
    let args = |yes| {
        [
            "rollout",
            "exec",
            "--all",
            yes,
            "--batch",
            "1",
            "--max-failures",
            "1",
            "--",
            &script,
        ]
        .map(str::to_owned)
    };
    let whole = args("--yes");
    let words: Vec<&str> = whole.iter().map(String::as_str).collect();
    world.berth(&words).code(5);
    let end = states(&world);
    assert_eq!(end, "m1:done m2:failed m3:done");
    let id = status(&world)["id"].as_str().unwrap().to_owned();
    let journal = world.data().join("rollouts").join(id).join("journal");
    let mut points = Vec::new();
    for line in fs::read_to_string(journal).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let event = line["event"].as_str().unwrap().to_owned();
        let about = line["machine"].as_str().unwrap_or("all").to_owned();
        points.push(format!("rollout:{about}:before-{event}"));
        points.push(format!("rollout:{about}:{event}"));
    }
    assert_eq!(points.len(), 14, "{points:?}");
    for point in points {
        let killed = world.finish(world.command(&words).env("BERTH_DIE_AT", &point));
        assert_eq!(killed.code, KILLED, "{point}: {killed:?}");
        if point == "rollout:all:finished" {
            world.berth(&["rollout", "resume"]).code(3);
        } else {
            assert_eq!(status(&world)["state"], "broke off", "{point}");
            // What failed before the end is tried again.
            world.berth(&["rollout", "resume"]).code(5);
        }
        assert_eq!(states(&world), end, "{point}");
    }
    // A machine is worked on once more only if its end was not written down, or if it failed.
    assert!(
        ran_in(&world, "m1") <= 15 + 1 + 2,
        "{}",
        ran_in(&world, "m1")
    );
}

#[test]
fn the_first_interruption_ends_what_runs_and_the_second_cuts_it_off() {
    let world = world(&["m1", "m2", "m3"]);
    let script = "echo x >>$HOME/ran; until [ -e $HOME/go ]; do sleep 0.05; done";
    let args = [
        "rollout", "exec", "--all", "--yes", "--canary", "0", "--batch", "1", "--", script,
    ];
    let first = world.background(&args);
    eventually("m1 is begun", || ran_in(&world, "m1") == 1);
    let pid = Pid::from_raw(first.id().cast_signed());
    kill(pid, Signal::SIGINT).unwrap();
    eventually("it is heard", || status(&world)["state"] == "running");
    fs::write(world.file("m1", "vm/go"), "").unwrap();
    let ran = world.wait(first).code(130);
    assert!(ran.stderr.contains("2 not begun: m[2-3]"), "{ran:?}");
    assert_eq!(states(&world), "m1:done m2:waiting m3:waiting");

    let second = world.background(&["rollout", "resume"]);
    eventually("m2 is begun", || ran_in(&world, "m2") == 1);
    let pid = second.id();
    world
        .berth(&["rollout", "abort"])
        .code(4)
        .says(&format!("process {pid}"));
    for _ in 0..2 {
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT).unwrap();
        // Two signals that come at once are one.
        std::thread::sleep(Duration::from_millis(300));
    }
    let ran = world.wait(second).code(130);
    assert!(ran.stderr.contains("m2: cut off"), "{ran:?}");
    assert_eq!(states(&world), "m1:done m2:cut m3:waiting");
    for name in ["m2", "m3"] {
        fs::write(world.file(name, "vm/go"), "").unwrap();
    }
    world.berth(&["rollout", "resume"]).ok();
    assert_eq!(states(&world), "m1:done m2:done m3:done");
}

#[test]
fn machines_that_die_or_hang_or_let_nobody_in_are_told_of() {
    let world = world(&["m1", "m2"]);
    // It dies while it is worked on.
    let script = "echo x >>$HOME/ran; sleep 60";
    let args = ["rollout", "exec", "m1", "--yes", "--", script];
    let running = world.background(&args);
    eventually("m1 is begun", || ran_in(&world, "m1") == 1);
    world.berth(&["kill", "m1"]).ok();
    let ran = world.wait(running).code(5);
    assert!(ran.stderr.contains("1 failed: m1"), "{ran:?}");
    // It is off when it goes on.
    let ran = world.berth(&["rollout", "resume"]).code(5);
    assert!(ran.stderr.contains("machine m1 is stopped"), "{ran:?}");
    world.berth(&["rollout", "abort"]).ok();
    world.berth(&["start", "m1"]).ok();

    // It hangs.
    let args = [
        "rollout",
        "exec",
        "m1",
        "--yes",
        "--timeout",
        "1",
        "--",
        "sleep 2",
    ];
    world.berth(&args).code(5).says("not done within 1 s");
    world.berth(&["rollout", "abort"]).ok();

    // Its key is not let in any more.
    fs::write(world.file("m2", "vm/authorized_keys"), "").unwrap();
    let args = ["rollout", "exec", "--all", "--yes", "--", "true"];
    world
        .berth(&args)
        .code(5)
        .says("does not let")
        .says("nothing was begun: 1 of 2 cannot take part: m2");
    assert_eq!(world.berth(&["rollout", "resume"]).code, 3);
    let args = ["rollout", "exec", "nobody", "--yes", "--", "true"];
    world.berth(&args).code(3);
}

/// Hosts that were adopted are worked on like any other machine.
pub fn adopt(world: &World, host: &Host, name: &str) {
    let options = host.options();
    let mut args = vec!["create", "--engine", "none", name];
    args.extend(options.iter().map(String::as_str));
    world.berth(&args).ok();
}

#[test]
fn a_fleet_file_that_broke_off_under_way_is_gone_on_with_as_any_rollout() {
    let world = World::new();
    let file = |role: &str| {
        let text = format!(
            "fleet = 'prod'\n[defaults]\ndriver = 'sshd'\nimage = './tiny.qcow2'\nengine = 'none'\nmemory = '64M'\n\
             [groups.web]\ncount = 2\nlabels = {{ role = '{role}' }}\n[rollout]\nbatch = 1\n"
        );
        fs::write(world.path("fleet.toml"), text).unwrap();
    };
    file("old");
    world.berth(&["apply", "--yes"]).ok();
    file("new");
    let mut broken = world.command(&["apply", "--yes"]);
    let ran = world.finish(broken.env("BERTH_DIE_AT", "rollout:web-2:before-begin"));
    assert_eq!(ran.code, KILLED, "{ran:?}");
    world.berth(&["plan"]).code(6);
    assert_eq!(status(&world)["state"], "broke off");

    // It was said to go ahead without a question, and that holds.
    let ran = world.berth(&["rollout", "resume"]).ok();
    assert_eq!(ran.lines(), ["web-2 changed"]);
    world.berth(&["plan"]).code(0);
    world.berth(&["rollout", "resume"]).code(3);
}
