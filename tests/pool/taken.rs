//! Machines that are taken, and creates that take none.

use std::fs;

use serde_json::Value;

use crate::support::{World, eventually};
use crate::{hostname, is_full, pool, set, waiting};

#[test]
fn a_create_takes_a_machine_that_waits_and_another_one_takes_its_place() {
    let world = World::new();
    set(&world, "ci", &["--ready", "2", "--wait"]).ok();
    let ready = waiting(&world);
    assert_eq!(ready.len(), 2);
    assert!(
        ready.iter().all(|name| name.starts_with("wt--ci-")),
        "{ready:?}"
    );
    // They are nobody's: not listed, not picked, in no client's list.
    assert_eq!(world.berth(&["ls", "-q"]).ok().stdout, "");
    world.berth(&["rm", "-f", "--all"]);
    assert_eq!(waiting(&world), ready);
    assert!(!world.path("docker/contexts").exists());
    let mut pids: Vec<i32> = ready.iter().map(|name| world.machine_pid(name)).collect();
    let told = pool(&world);
    assert_eq!((&told["ready"], &told["wanted"]), (&2.into(), &2.into()));
    assert!(told["idle_memory"].as_u64().unwrap() > 1 << 20, "{told}");
    assert!(told["idle_disk"].as_u64().unwrap() > 0, "{told}");

    world
        .create(&["web1", "-l", "role=ci"])
        .ok()
        .says("Taking a machine of pool ci");
    let row = world.row("web1");
    assert_eq!(
        (&row["state"], &row["error"]),
        (&"running".into(), &Value::Null)
    );
    assert_eq!(row["labels"]["role"], "ci");
    let taken = world.machine_pid("web1");
    assert!(pids.contains(&taken));
    eventually("it is called by its name", || {
        hostname(&world, "web1") == "web1"
    });
    let ssh = fs::read_to_string(world.file("web1", "ssh_config")).unwrap();
    assert!(ssh.starts_with("Host web1.berth\n"), "{ssh}");
    let known = fs::read_to_string(world.file("web1", "known_hosts")).unwrap();
    assert!(
        known.starts_with("web1.berth ") && known.lines().count() == 1,
        "{known}"
    );
    world.create(&["web1"]).code(4).says("exists already");

    eventually("the pool is full again", || is_full(&world));
    pids.retain(|pid| *pid != taken);
    assert!(
        waiting(&world)
            .iter()
            .any(|name| world.machine_pid(name) == pids[0])
    );

    // It is as any other from now on.
    world.berth(&["restart", "web1"]).ok();
    eventually("it is called by its name again", || {
        hostname(&world, "web1") == "web1"
    });
    world.berth(&["pool", "rm", "ci"]).ok();
    assert_eq!(waiting(&world), [""; 0]);
    assert_eq!(world.state("web1"), "running");
    world
        .berth(&["pool", "rm", "ci"])
        .code(3)
        .says("there is no pool ci");
    assert_eq!(world.berth(&["pool", "ls", "-q"]).ok().stdout, "");
}

#[test]
fn what_asks_for_something_else_is_made_as_ever() {
    let world = World::new();
    set(&world, "ci", &["--ready", "1", "--wait"]).ok();
    let ready = waiting(&world);
    for more in [
        &["m1", "--cold"][..],
        &["m2", "--no-pool"],
        &["m3", "--cpus", "1"],
        &["m4", "-o", "stubborn=true"],
        &["m5", "--tls"],
        &["m6", "--engine-label", "a=b"],
    ] {
        let ran = world.create(more).ok();
        assert!(!ran.stderr.contains("pool"), "{more:?}: {ran:?}");
    }
    assert_eq!(waiting(&world), ready);
    // What is the machine's own is no difference.
    world
        .create(&["m7", "--ttl", "1h", "--ephemeral", "-l", "a=b"])
        .ok()
        .says("of pool ci");
    let told = world.berth(&["status", "m7"]).ok().stdout;
    assert!(told.contains("goes       by itself"), "{told}");
    world.berth(&["stop", "m7"]).ok();
    eventually("it is gone as soon as it is off", || {
        world.row("m7").is_null()
    });
    world.berth(&["pool", "rm", "ci"]).ok();
}

#[test]
fn of_two_creates_that_race_for_the_last_machine_one_makes_its_own() {
    let world = World::new();
    set(&world, "ci", &["--ready", "1", "--wait"]).ok();
    let ready = world.machine_pid(&waiting(&world)[0]);
    let args = |name| world.create_args(&[name]);
    let racers = ["a1", "a2", "a3"].map(|name| {
        let args = args(name);
        world.background(&args.iter().map(String::as_str).collect::<Vec<_>>())
    });
    for racer in racers {
        world.wait(racer).ok();
    }
    let pids = ["a1", "a2", "a3"].map(|name| world.machine_pid(name));
    // A second one may have found the machine that was made in the first one's place.
    assert_eq!(
        pids.iter().filter(|pid| **pid == ready).count(),
        1,
        "{pids:?}"
    );
    assert!(pids[0] != pids[1] && pids[1] != pids[2] && pids[0] != pids[2]);
    for name in ["a1", "a2", "a3"] {
        assert_eq!(world.state(name), "running");
        eventually("it is called by its name", || {
            hostname(&world, name) == name
        });
    }
    world.berth(&["pool", "rm", "ci"]).ok();
}
