//! Machines that go by themselves, as a CI job's do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::time::Instant;

use snapbox::{assert_data_eq, str};
use support::{World, eventually};

fn names(world: &World) -> String {
    world.berth(&["ls", "-q"]).ok().stdout
}

#[test]
fn a_machine_goes_when_its_time_is_over() {
    let world = World::new();
    let made = Instant::now();
    world.create(&["web"]).ok();
    world.create(&["job", "--ttl", "6s"]).ok();
    let told = world.berth(&["status", "job"]).ok().stdout;
    assert!(told.contains("goes       by itself, at 2"), "{told}");
    eventually("its time is over", || names(&world) == "web\n");
    assert!(made.elapsed().as_secs() >= 6);
    assert!(!world.file("job", "").exists());
}

#[test]
fn a_machine_goes_as_soon_as_it_is_off_but_not_when_it_is_restarted() {
    let world = World::new();
    world.create(&["job", "--ephemeral"]).ok();
    world.berth(&["restart", "job"]).ok();
    world.berth(&["exec", "job", "--", "true"]).ok();
    // It is no machine of those that stay.
    assert_eq!(world.berth(&["rm", "--over", "--all"]).ok().stdout, "");
    world.berth(&["stop", "job"]).ok();
    eventually("it is gone", || names(&world).is_empty());
}

/// This computer, and with it the supervisor, was off when the time was over.
#[test]
fn what_is_left_of_them_goes_when_it_is_asked_for() {
    let world = World::new();
    world.create(&["job", "--ttl", "5s", "--ephemeral"]).ok();
    let supervisor = std::fs::read_to_string(world.file("job", "supervisor.lock")).unwrap();
    let pid: i32 = supervisor.split(' ').next().unwrap().parse().unwrap();
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    );
    world.create(&["web"]).ok();
    world.berth(&["stop", "web"]).ok();
    let mut gone = String::new();
    eventually("its time is over", || {
        gone += &world.berth(&["rm", "--over", "--all"]).ok().stdout;
        !names(&world).contains("job")
    });
    assert_eq!(names(&world), "web\n");
    assert!(["", "job\n"].contains(&gone.as_str()), "{gone}");
}

#[test]
fn no_time_is_refused() {
    let world = World::new();
    let mut told = String::new();
    for time in ["0s", "5", "-1m", "1y", "367d", "99999999999999999999d", "m"] {
        let ran = world
            .berth(&["create", "job", &format!("--ttl={time}")])
            .code(2);
        told += ran.told().lines().nth(1).unwrap_or_default();
        told += "\n";
    }
    assert_data_eq!(
        told,
        str![[r#"
error: invalid value '0s' for '--ttl <TIME>': write 45s, 30m, 12h or 7d, a year at most
error: invalid value '5' for '--ttl <TIME>': write 45s, 30m, 12h or 7d, a year at most
error: invalid value '-1m' for '--ttl <TIME>': write 45s, 30m, 12h or 7d, a year at most
error: invalid value '1y' for '--ttl <TIME>': write 45s, 30m, 12h or 7d, a year at most
error: invalid value '367d' for '--ttl <TIME>': write 45s, 30m, 12h or 7d, a year at most
error: invalid value '99999999999999999999d' for '--ttl <TIME>': write 45s, 30m, 12h or 7d, a year at most
error: invalid value 'm' for '--ttl <TIME>': write 45s, 30m, 12h or 7d, a year at most

"#]]
    );
    world
        .berth(&["rm", "--over", "--force", "job"])
        .code(2)
        .says("cannot be used with");
}
