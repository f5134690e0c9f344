//! What a fleet file changes in machines, and what of theirs it leaves alone.

use std::fs;

use serde_json::Value;
use snapbox::{assert_data_eq, str};

use crate::Fleet;
use crate::support::{World, engine};

#[test]
fn a_fleet_grows_changes_and_shrinks() {
    let world = World::new();
    world.declare("[groups.web]\ncount = 2\nlabels = { role = 'web' }\n[groups.db]\nname = 'db'\nprotect = true\n");
    let plan = world.plan().code(6);
    assert_data_eq!(
        plan.printed(),
        str![[r#"
+ db: create (sshd, 64 MiB memory, WORLD/tiny.qcow2, none)
+ web-1: create (sshd, 64 MiB memory, WORLD/tiny.qcow2, none)
+ web-2: create (sshd, 64 MiB memory, WORLD/tiny.qcow2, none)
fleet prod: 3 to create

"#]]
    );
    let applied = world.apply().ok();
    assert_data_eq!(
        applied.printed(),
        str![[r#"
db created
web-1 created
web-2 created

"#]]
    );
    assert_data_eq!(
        world.plan().code(0).printed(),
        str![[r#"
fleet prod: 3 as they are to be

"#]]
    );

    // Nothing is done twice.
    let before = world.snapshot();
    assert_eq!(world.apply().ok().stdout, "");
    world.is_as_it_was(&before, "apply again");

    // What somebody changed is shown, and mended.
    world.berth(&["label", "web-1", "role=www", "mine=1"]).ok();
    world.berth(&["rm", "-y", "web-2"]).ok();
    assert_data_eq!(
        world.plan().code(6).printed(),
        str![[r#"
~ web-1: change
    - label mine 1
    - label role www
    + label role web
+ web-2: create (sshd, 64 MiB memory, WORLD/tiny.qcow2, none)
fleet prod: 1 to create, 1 to change, 1 as they are to be

"#]]
    );
    world.apply().ok();
    world.plan().code(0);
    assert_eq!(
        world.row("web-1")["labels"],
        serde_json::json!({"role": "web"})
    );

    // Fewer machines, larger ones, and one that is protected.
    world.declare("[groups.web]\ncount = 1\nmemory = '128M'\nlabels = { role = 'web' }\n");
    assert_data_eq!(
        world.plan().code(6).printed(),
        str![[r#"
~ web-1: change (it is restarted for its new size)
    - memory 64 MiB
    + memory 128 MiB
! db: left alone (protected: the file has it no more, and it is not removed)
- web-2: remove (the file has it no more)
fleet prod: 1 to change, 1 to remove, 1 left alone

"#]]
    );
    let refused = world.berth(&["apply"]).code(2);
    assert_data_eq!(
        refused.told(),
        str![[r#"
exit 2
~ web-1: change (it is restarted for its new size)
    - memory 64 MiB
    + memory 128 MiB
! db: left alone (protected: the file has it no more, and it is not removed)
- web-2: remove (the file has it no more)
fleet prod: 1 to change, 1 to remove, 1 left alone
berth: this removes web-2 with all data: say --yes

"#]]
    );
    assert_data_eq!(
        world.apply().code(5).printed(),
        str![[r#"
web-1 changed
web-2 removed

"#]]
    );
    assert_eq!(world.row("web-1")["memory"], 128 << 20);
    assert_eq!(world.row("web-2"), Value::Null);

    // What it is to have from its next start on counts, and what its hypervisor says that it has.
    world
        .berth(&["resize", "web-1", "--memory", "64M"])
        .ok()
        .says("after `berth restart web-1`");
    let memory_differs = |is: &str| {
        let told = world.plan().code(6).printed();
        let wanted = format!(
            "~ web-1: change (it is restarted for its new size)\n    - memory {is}\n    + memory 128 MiB\n"
        );
        assert!(told.starts_with(&wanted), "{told}");
        let pid = world.machine_pid("web-1");
        world.apply().code(5);
        assert_ne!(world.machine_pid("web-1"), pid);
        assert_eq!(world.action("web-1"), "nothing");
    };
    memory_differs("64 MiB");
    let runs = world.file("web-1", "vm/runs");
    let size = fs::read_to_string(&runs).unwrap();
    fs::write(&runs, size.replace("134217728", "33554432")).unwrap();
    memory_differs("32 MiB");
    assert_eq!(world.state("db"), "running");

    // It goes when the file says so.
    world.declare("[groups.web]\ncount = 0\n[groups.db]\nname = 'db'\n");
    world.apply().ok();
    world.declare("");
    world.apply().ok();
    assert_eq!(world.berth(&["ls", "-q"]).ok().stdout, "");
    world.plan().code(0);
}

#[test]
fn machines_that_are_not_the_fleets_are_left_alone() {
    let world = World::new();
    world.create(&["web-1", "other"]).ok();
    world.declare("[groups.web]\ncount = 1\nlabels = { a = 'b' }\n");
    // One that the file names is changed and taken in, but not replaced for it.
    assert_eq!(world.action("web-1"), "blocked");
    let told = world.plan().code(6).printed();
    assert!(told.contains("was not made for this fleet"), "{told}");
    let digest = world.row("web-1")["image"].as_str().unwrap().to_owned();
    world.declare(&format!(
        "[groups.web]\ncount = 1\nimage = '{digest}'\nlabels = {{ a = 'b' }}\n"
    ));
    assert_eq!(world.action("web-1"), "change");
    world.apply().ok();
    world.plan().code(0);
    // Another fleet's file cannot have it.
    let text = fs::read_to_string(world.path("fleet.toml")).unwrap();
    fs::write(world.path("fleet.toml"), text.replace("'prod'", "'test'")).unwrap();
    assert_eq!(world.action("web-1"), "blocked");
    fs::write(world.path("fleet.toml"), text).unwrap();
    world.declare("");
    assert_eq!(world.apply().ok().stdout, "web-1 removed\n");
    assert_eq!(world.state("other"), "running");
}

#[test]
fn an_engine_is_compared_with_the_one_that_answers() {
    let world = World::new();
    world.declare("[groups.web]\nname = 'web'\n");
    world.apply().ok();
    let _engine = engine::install(&world, "web");
    let with = |engine: &str| {
        world.declare(&format!(
            "[groups.web]\nname = 'web'\nengine = '{engine}'\n"
        ))
    };
    let record = fs::read_to_string(world.file("web", "machine.toml")).unwrap();
    let record = record.replace(
        "kind = \"none\"\nchannel",
        "kind = \"docker\"\nversion = \"28.5\"\nchannel",
    );
    fs::write(world.file("web", "machine.toml"), record).unwrap();
    world.berth(&["start", "web"]).ok();
    with("docker@28.5");
    assert_data_eq!(
        world.plan().code(0).printed(),
        str![[r#"
fleet prod: 1 as they are to be

"#]]
    );
    with("docker@26.1");
    assert_data_eq!(
        world.plan().code(6).printed(),
        str![[r#"
~ web: change
    - engine docker@28.5
    + engine docker@26.1
    - engine's version 28.5.2
    + engine's version 26.1
fleet prod: 1 to change

"#]]
    );
    with("docker@28.5");
    world.berth(&["stop", "web"]).ok();
    assert_data_eq!(
        world.plan().code(0).printed(),
        str![[r#"
= web: as it is to be (stopped: its engine was looked at by its record only)
fleet prod: 1 as they are to be

"#]]
    );
    world.berth(&["start", "web"]).ok();
    drop(_engine);
    let told = world.plan().code(6).printed();
    assert!(told.contains("    - engine in the machine "), "{told}");
}
