//! A create that is killed at any point while it takes a machine.

use std::fs;
use std::sync::Mutex;

use serde_json::Value;

use crate::support::{World, engine, eventually, leftovers};
use crate::{hostname, install_engine, is_full, set, waiting};

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
