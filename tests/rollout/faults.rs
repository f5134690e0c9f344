//! What goes wrong with a machine between the look beforehand and its turn, or under it.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::ends::adopt;
use crate::support::World;
use crate::support::eventually;
use crate::support::host::Host;
use crate::{ran_in, states, world};

#[test]
fn a_host_that_is_cut_off_under_its_turn_is_told_of_and_done_when_it_is_back() {
    let world = World::new();
    world.create(&["a1"]).ok();
    let host = Host::start(&world, "h1", "");
    adopt(&world, &host, "h1");
    // The first time it tells which process serves it, and goes on for long.
    let script = "echo x >>$HOME/ran; [ -e $HOME/server ] || case $HOME in *host-h1*) echo $PPID >$HOME/server; until [ -e $HOME/over ]; do sleep 0.1; done;; esac";
    let args = ["rollout", "exec", "a1", "h1", "--yes", "--canary", "0"];
    let pace = ["--batch", "1", "--timeout", "6"];
    let running = world.background(&[&args[..], &pace, &["--", script]].concat());
    let server = host.path("home/server");
    eventually("h1 is begun", || {
        fs::read_to_string(&server).is_ok_and(|text| text.ends_with('\n'))
    });
    let server = fs::read_to_string(server).unwrap();
    let server = Pid::from_raw(server.trim().parse().unwrap());
    kill(server, Signal::SIGSTOP).unwrap();
    let ran = world.wait(running).code(5);
    assert!(
        ran.stderr.contains("machine h1: not done within 6 s"),
        "{ran:?}"
    );
    assert_eq!(states(&world), "a1:done h1:failed");

    kill(server, Signal::SIGCONT).unwrap();
    world.berth(&["rollout", "resume"]).ok();
    assert_eq!(states(&world), "a1:done h1:done");
    let ran = fs::read_to_string(host.path("home/ran")).unwrap();
    assert_eq!((ran.lines().count(), ran_in(&world, "a1")), (2, 1));
    // What was cut off goes on there until it ends by itself.
    fs::write(host.path("home/over"), "").unwrap();
}

#[test]
fn a_machine_that_lets_nobody_in_after_its_change_stops_the_rollout() {
    let world = world(&["m1", "m2", "m3"]);
    let keys = world.file("m2", "vm/authorized_keys");
    let kept = fs::read_to_string(&keys).unwrap();
    // Whoever changed the first machine's neighbour: it was well when it was looked at.
    let gate = format!("test \"$BERTH_MACHINE\" != m1 || : >{}", keys.display());
    let args = ["rollout", "restart", "--all", "--yes", "--batch", "1"];
    let ran = world.berth(&[&args[..], &["--gate", &gate]].concat());
    let ran = ran.code(5).says("does not let").says("1 failed: m2");
    assert!(ran.stderr.contains("1 not begun: m3"), "{ran:?}");
    assert_eq!(states(&world), "m1:done m2:failed m3:waiting");

    fs::write(&keys, kept).unwrap();
    world.berth(&["rollout", "resume"]).ok();
    assert_eq!(states(&world), "m1:done m2:done m3:done");
    assert_eq!(world.state("m2"), "running");
}
