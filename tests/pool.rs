//! Machines that are ready before anybody asks for them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;
use std::sync::Mutex;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use snapbox::{assert_data_eq, str};
use support::{Ran, World, engine, eventually, leftovers};

/// `berth pool set`, of machines as `World::create` makes them.
fn set(world: &World, pool: &str, more: &[&str]) -> Ran {
    let mut args = vec!["pool", "set", pool];
    let like = world.create_args(more);
    args.extend(like[1..].iter().map(String::as_str));
    world.berth(&args)
}

fn waiting(world: &World) -> Vec<String> {
    let listed = world.berth(&["ls", "--waiting", "-q"]).ok();
    listed.lines().into_iter().map(str::to_owned).collect()
}

/// The only pool, by `berth pool ls --json`.
fn pool(world: &World) -> Value {
    let told = world.berth(&["pool", "ls", "--json"]).ok().stdout;
    serde_json::from_str::<Value>(&told).unwrap()[0].clone()
}

fn is_full(world: &World) -> bool {
    let pool = pool(world);
    pool["ready"] == pool["wanted"] && pool["making"] == 0
}

fn hostname(world: &World, machine: &str) -> String {
    let ran = world.berth(&["ssh", machine, "--", "cat /proc/sys/kernel/hostname"]);
    ran.ok().stdout.trim().to_owned()
}

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

#[test]
fn a_machine_that_died_or_whose_engine_is_silent_is_not_handed_out_but_replaced() {
    let world = World::new();
    set(&world, "ci", &["--ready", "1", "--wait"]).ok();
    let dead = waiting(&world).remove(0);
    kill(Pid::from_raw(world.machine_pid(&dead)), Signal::SIGKILL).unwrap();
    world
        .create(&["m1"])
        .ok()
        .says("pool ci has no machine ready: one is made");
    eventually("it is replaced", || {
        is_full(&world) && !waiting(&world).contains(&dead)
    });

    let silent = waiting(&world).remove(0);
    let engine = install_engine(&world, &silent);
    assert!(is_full(&world));
    engine.answers("/_ping", "");
    world
        .create(&["m2"])
        .ok()
        .says("pool ci has no machine ready");
    eventually("it is replaced", || {
        is_full(&world) && !waiting(&world).contains(&silent)
    });

    // Nobody asks for one: any command that changes machines sees that one is gone.
    let gone = waiting(&world).remove(0);
    world.berth(&["rm", "-y", &gone]).ok();
    eventually("it is replaced", || {
        is_full(&world) && !waiting(&world).contains(&gone)
    });
    world.berth(&["pool", "rm", "ci"]).ok();
}

#[test]
fn a_pool_that_is_changed_has_other_machines() {
    let world = World::new();
    set(&world, "ci", &["--ready", "2", "--wait"]).ok();
    let before = waiting(&world);
    set(&world, "ci", &["--ready", "1", "--wait"]).ok();
    let one = waiting(&world);
    assert!(
        one.len() == 1 && before.contains(&one[0]),
        "{before:?} {one:?}"
    );
    set(&world, "ci", &["--ready", "1", "--wait", "--cpus", "1"]).ok();
    let other = waiting(&world);
    assert!(other.len() == 1 && other != one);
    assert_eq!(pool(&world)["cpus"], 1);
    set(&world, "ci", &["--ready", "0", "--wait", "--cpus", "1"]).ok();
    assert_eq!(waiting(&world), [""; 0]);
    let ran = world.create(&["m1", "--cpus", "1"]).ok();
    assert!(!ran.stderr.contains("pool"), "{ran:?}");
    world.berth(&["pool", "rm", "ci"]).ok();
}

#[test]
fn why_a_pool_is_not_full_is_told() {
    let world = World::new();
    let never = ["--ready", "1", "-o", "mute=true", "--timeout", "1"];
    set(&world, "ci", &[&never[..], &["--wait"]].concat())
        .code(1)
        .says("did not answer within 1 s");
    let told = pool(&world);
    let error = told["error"].as_str().unwrap();
    assert!(error.contains("did not answer within 1 s"), "{told}");
    assert_eq!(waiting(&world), [""; 0]);
    // It is not tried at every command.
    world.create(&["m1"]).ok();
    assert_eq!(waiting(&world), [""; 0]);
    world.berth(&["pool", "rm", "ci"]).ok();
}

#[test]
fn a_pool_goes_while_its_machines_are_made() {
    let world = World::new();
    set(&world, "ci", &["--ready", "2", "-o", "mute=true"]).ok();
    eventually("they are made", || pool(&world)["making"] == 2);
    assert_eq!(world.berth(&["ls", "-q"]).ok().stdout, "");
    world.berth(&["pool", "rm", "ci"]).ok();
    let left = leftovers::of(&world);
    assert!(left.is_empty(), "{left:#?}");
}

/// The steps of taking a machine, by the journal that taking one wrote.
fn points(journal: &str) -> Vec<(String, &'static str)> {
    let steps = journal.lines().filter_map(|line| {
        let entry: Value = serde_json::from_str(line).unwrap();
        let step = entry["step"].as_str()?.to_owned();
        Some((step, entry["event"] == "begin"))
    });
    let points = steps.flat_map(|(step, begins)| {
        let at: &[&str] = if begins {
            &["begin"]
        } else {
            &["work", "done"]
        };
        at.iter().map(move |at| (step.clone(), *at))
    });
    points.collect()
}

/// A pool with a machine that has an engine.
fn pool_with_engine(world: &World) -> (String, engine::Engine) {
    set(world, "ci", &["--ready", "1", "--wait"]).ok();
    let name = waiting(world).remove(0);
    let engine = install_engine(world, &name);
    (name, engine)
}

/// Gives a machine that waits an engine. Its supervisor was started for one without.
fn install_engine(world: &World, name: &str) -> engine::Engine {
    let supervisor = world.supervisor(name)["pid"].as_i64().unwrap();
    let engine = engine::install(world, name);
    kill(Pid::from_raw(supervisor as i32), Signal::SIGKILL).unwrap();
    eventually("its supervisor is gone", || {
        world.supervisor(name).is_null()
    });
    world.berth(&["start", name]).ok();
    engine
}

#[test]
fn a_create_that_is_killed_while_it_takes_a_machine_can_be_resumed_or_done_again() {
    let journal = {
        let world = World::new();
        let (_, _engine) = pool_with_engine(&world);
        world.create(&["m1"]).ok().says("of pool ci");
        assert_eq!(engine::ping(&world, "m1"), "OK");
        let context = world.berth(&["context", "ls", "-q"]).ok().stdout;
        assert_eq!(context, "m1\n");
        world.berth(&["pool", "rm", "ci"]).ok();
        fs::read_to_string(world.file("m1", "journal")).unwrap()
    };
    let todo = Mutex::new(points(&journal));
    assert!(todo.lock().unwrap().len() >= 15, "{todo:?}");
    let work = || {
        let world = World::new();
        loop {
            let Some((step, at)) = todo.lock().unwrap().pop() else {
                return;
            };
            let (name, _engine) = pool_with_engine(&world);
            let pid = world.machine_pid(&name);
            let args = world.create_args(&["m1"]);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let point = format!("create:{step}:{at}");
            let ran = world.finish(world.command(&args).env("BERTH_DIE_AT", &point));
            assert_eq!(ran.code, -9, "at {point}: {ran:#?}");
            let row = world.row("m1");
            if row.is_null() {
                // It is nobody's yet, and nobody gets it any more.
                assert!(["claim", "name"].contains(&step.as_str()), "{point}");
                world.create(&["m1"]).ok();
                assert_ne!(world.machine_pid("m1"), pid, "{point}");
                eventually("it is replaced", || {
                    is_full(&world) && !waiting(&world).contains(&name)
                });
            } else {
                assert_eq!(row["state"], "creating", "{point}");
                assert_eq!(
                    row["error"],
                    format!("create broke off at {step}"),
                    "{point}"
                );
                world.create(&["m1"]).code(4);
                world.berth(&["create", "--resume", "m1"]).ok();
                assert_eq!(world.machine_pid("m1"), pid, "{point}");
                assert_eq!(engine::ping(&world, "m1"), "OK");
                let context = world.berth(&["context", "ls", "-q"]).ok().stdout;
                assert_eq!(context, "m1\n");
            }
            let row = world.row("m1");
            assert_eq!(
                (&row["state"], &row["error"]),
                (&"running".into(), &Value::Null),
                "{point}"
            );
            eventually("it is called by its name", || {
                hostname(&world, "m1") == "m1"
            });
            world.berth(&["rm", "-y", "m1"]).ok();
            world.berth(&["pool", "rm", "ci"]).ok();
            let left = leftovers::of(&world);
            assert!(left.is_empty(), "after {point}: {left:#?}");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(work);
        }
    });
}

#[test]
fn one_that_broke_off_is_removed_as_well() {
    let world = World::new();
    for at in ["name:work", "ssh:done"] {
        set(&world, "ci", &["--ready", "1", "--wait"]).ok();
        let args = world.create_args(&["m1"]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        world
            .finish(
                world
                    .command(&args)
                    .env("BERTH_DIE_AT", format!("create:{at}")),
            )
            .code(-9);
        world.berth(&["rm", "-y", "m1"]).ok();
        world.berth(&["pool", "rm", "ci"]).ok();
        let left = leftovers::of(&world);
        assert!(left.is_empty(), "after {at}: {left:#?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let world = World::new();
    let mut told = String::new();
    let mut ask = |args: &[&str]| {
        let ran = world.berth(args);
        told += &format!("$ berth {}\n{}\n", args.join(" "), ran.told());
    };
    for more in [
        &["Ci", "--ready", "1"][..],
        &["../x", "--ready", "1"],
        &["ci", "--ready", "65"],
        &["ci", "--ready", "-1"],
        &["ci"],
        &["ci", "--ready", "1", "-l", "a=b"],
        &["ci", "--ready", "1", "--ttl", "1h"],
        &["ci", "--ready", "1", "--cold"],
        &["ci", "--ready", "1", "--tls"],
        &["ci", "--ready", "1", "--cpus", "0"],
        &["ci", "--ready", "1", "--image", "nope"],
        &["ci", "--ready", "1", "--engine", "lxc"],
        &["ci", "--ready", "1", "-o", "nope=1"],
        &["ci", "--ready", "1", "-d", "nope"],
        &["ci", "--ready", "1", "-d", "ssh"],
    ] {
        let driver = ["-d", "sshd"];
        let driver = if more.contains(&"-d") {
            &[][..]
        } else {
            &driver[..]
        };
        ask(&[&["pool", "set"], driver, more].concat());
    }
    ask(&["pool", "rm", "ci"]);
    ask(&["pool", "rm", "../x"]);
    ask(&["create", "wt--ci-000001"]);
    ask(&["ssh", "wt--ci-000001"]);
    ask(&["ls", "--waiting", "-l", "a=b"]);
    assert_data_eq!(
        told,
        str![[r#"
$ berth pool set -d sshd Ci --ready 1
exit 2
berth: pool "Ci": a pool's name has 1 to 40 lower-case letters a-z, digits and hyphens, and no hyphen at its ends

$ berth pool set -d sshd ../x --ready 1
exit 2
berth: pool "../x": a pool's name has 1 to 40 lower-case letters a-z, digits and hyphens, and no hyphen at its ends

$ berth pool set -d sshd ci --ready 65
exit 2
berth: --ready: at most 64 machines wait in a pool

$ berth pool set -d sshd ci --ready -1
exit 2
error: unexpected argument '-1' found

  tip: to pass '-1' as a value, use '-- -1'

Usage: berth pool set [OPTIONS] --ready <N> <POOL>

For more information, try '--help'.

$ berth pool set -d sshd ci
exit 2
error: the following required arguments were not provided:
  --ready <N>

Usage: berth pool set --ready <N> --driver <DRIVER> <POOL>

For more information, try '--help'.

$ berth pool set -d sshd ci --ready 1 -l a=b
exit 2
berth: --label: is said to `berth create`, of the machine that it takes

$ berth pool set -d sshd ci --ready 1 --ttl 1h
exit 2
berth: --ttl, --ephemeral: is said to `berth create`, of the machine that it takes

$ berth pool set -d sshd ci --ready 1 --cold
exit 2
berth: --cold: is said to `berth create`, which then takes none

$ berth pool set -d sshd ci --ready 1 --tls
exit 2
berth: --tls: is a machine's own from its first moment on: such machines are not taken from pools

$ berth pool set -d sshd ci --ready 1 --cpus 0
exit 2
berth: --cpus: a machine has at least one

$ berth pool set -d sshd ci --ready 1 --image nope
exit 3
berth: there is no image nope
hint: `berth image ls` lists them

$ berth pool set -d sshd ci --ready 1 --engine lxc
exit 2
berth: --engine: "lxc" is not an engine: docker, podman, none

$ berth pool set -d sshd ci --ready 1 -o nope=1
exit 2
berth: machine ci: the sshd driver has no option "nope"
hint: it has: mute, stubborn, frail, jump

$ berth pool set ci --ready 1 -d nope
exit 3
berth: there is no driver nope
hint: there are: qemu, uml, virtualbox, ssh, sshd

$ berth pool set ci --ready 1 -d ssh
exit 2
berth: --driver: ssh makes no machines: it adopts computers

$ berth pool rm ci
exit 3
berth: there is no pool ci
hint: there are none: `berth pool set` makes one

$ berth pool rm ../x
exit 3
berth: there is no pool ../x
hint: there are none: `berth pool set` makes one

$ berth create wt--ci-000001
exit 2
berth: "wt--ci-000001" cannot be a machine's name: machines that wait in pools have names with wt--

$ berth ssh wt--ci-000001
exit 3
berth: there is no machine wt--ci-000001
hint: there are no machines yet: `berth up` makes one

$ berth ls --waiting -l a=b
exit 2
berth: --waiting lists all machines that wait, and only those


"#]]
    );
    assert!(!world.data().join("pools").exists());
}
