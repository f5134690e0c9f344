//! `berth swarm` where no engine has to be one: what is refused before anything is changed. What swarms do is tested with
//! real machines, in tests/vm_swarm.rs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;

use snapbox::{assert_data_eq, str};
use support::World;
use support::engine::{self, Engine};

fn world(names: &[&str]) -> (World, Vec<Engine>) {
    let world = World::new();
    world.create(names).ok();
    let engines = names.iter().map(|name| {
        world.berth(&["stop", name]).ok();
        engine::install(&world, name)
    });
    let engines: Vec<Engine> = engines.collect();
    world.berth(&[&["start"], names].concat()).ok();
    for engine in &engines {
        engine.answers(
            "/info",
            r#"{"Swarm":{"LocalNodeState":"inactive"},"LiveRestoreEnabled":true}"#,
        );
    }
    (world, engines)
}

#[test]
fn what_makes_no_swarm_is_refused_before_anything_is_changed() {
    let (world, _engines) = world(&["web1", "web2", "web3"]);
    world.create(&["bare"]).ok();
    // The folder of locks is made by the first who needs one, and stays.
    world.berth(&["swarm", "init", "web1"]).code(4);
    let before = world.snapshot();
    let mut all = String::new();
    for args in [
        &["init"][..],
        &["init", "web1", "web2", "--managers", "2"],
        &["init", "web1", "web2", "--managers", "0"],
        &["init", "web1", "web2", "--managers", "3"],
        &["init", "web1", "--name", "web2"],
        &["init", "web1", "--name", "No Name"],
        &["init", "web1", "bare"],
        &["init", "web1", "web2", "web3"],
        &["init", "nobody"],
        &["join", "web1"],
        &["join", "web1", "--swarm", "prod"],
        &["leave", "web1"],
        &["leave", "--force", "web1"],
        &["leave", "nobody"],
        &["replace", "web1", "web1"],
        &["replace", "web1", "web2"],
        &["status", "prod"],
        &["status"],
    ] {
        let ran = world.berth(&[&["--quiet-progress", "swarm"], args].concat());
        all += &format!("$ berth swarm {}\n{}", args.join(" "), ran.told());
    }
    assert_data_eq!(
        all,
        str![[r#"
$ berth swarm init
exit 2
berth: name a machine, select some with -l, --driver or --state, or say --all
$ berth swarm init web1 web2 --managers 2
exit 2
berth: 2 managers: a swarm decides by more than half of them, so an even number bears no more failures than one less
hint: say 1 or 3
$ berth swarm init web1 web2 --managers 0
exit 2
berth: 0 managers: a swarm decides by more than half of them, so an even number bears no more failures than one less
hint: say 1, 3 or 5
$ berth swarm init web1 web2 --managers 3
exit 2
berth: 3 managers of 2 machines
$ berth swarm init web1 --name web2
exit 4
berth: web2 is a machine: a swarm needs a name of its own, for its docker context
hint: say another one with --name
$ berth swarm init web1 --name No Name
exit 2
berth: "No Name" cannot be a swarm's name: a name has only lower-case letters a-z, digits and hyphens
$ berth swarm init web1 bare
exit 4
berth: machine web1 cannot be reached by other machines: only this computer does, by a port of its own on 127.0.0.1
hint: machines that reach each other are made with `-d uml -o network=shared:GROUP` or `-d qemu -o network=bridge:IF`, or adopted at an address that is not loopback
$ berth swarm init web1 web2 web3
exit 4
berth: machine web1 cannot be reached by other machines: only this computer does, by a port of its own on 127.0.0.1
hint: machines that reach each other are made with `-d uml -o network=shared:GROUP` or `-d qemu -o network=bridge:IF`, or adopted at an address that is not loopback
$ berth swarm init nobody
exit 3
berth: there is no machine nobody
hint: there are: bare, web1, web2, web3
$ berth swarm join web1
exit 2
berth: there is no swarm yet: `berth swarm init` makes one
$ berth swarm join web1 --swarm prod
exit 3
berth: there is no swarm prod
hint: there are none yet: `berth swarm init` makes one
$ berth swarm leave web1
exit 4
berth: machine web1 is in no swarm
hint: `berth swarm status` lists who is
$ berth swarm leave --force web1
exit 4
berth: machine web1 is in no swarm
hint: `berth swarm status` lists who is
$ berth swarm leave nobody
exit 3
berth: there is no machine nobody
hint: there are: bare, web1, web2, web3
$ berth swarm replace web1 web1
exit 2
berth: name two machines: the one that goes and the one that comes
$ berth swarm replace web1 web2
exit 4
berth: machine web1 is in no swarm
hint: `berth swarm status` lists who is
$ berth swarm status prod
exit 3
berth: there is no swarm prod
hint: there are none yet: `berth swarm init` makes one
$ berth swarm status
exit 0

"#]]
    );
    world.is_as_it_was(&before, "swarms were refused");
}

#[test]
fn a_swarm_whose_machines_are_dead_or_removed_is_told_and_forgotten() {
    let (world, _engines) = world(&["web1", "web2"]);
    // As a swarm that was made left it.
    fs::create_dir_all(world.data().join("swarms/prod")).unwrap();
    let record = "version = 1\nname = \"prod\"\nid = \"99f89576-2da6-47d7-b16a-a3d3eda7ce0d\"\nswarm = \"c1\"\nmanagers = 1\n\
                  later = \"kept\"\n[machines]\nweb1 = \"n1\"\nweb2 = \"n2\"\n";
    fs::write(world.data().join("swarms/prod/swarm.toml"), record).unwrap();
    world.berth(&["stop", "web2"]).ok();
    let ran = world.berth(&["swarm", "status"]).code(5);
    assert_data_eq!(
        ran.printed(),
        str![[r#"
swarm prod has no manager that can decide: machine web2 is stopped
MACHINE   ROLE   STATE    AVAILABILITY   ADDRESS   ENGINE   ERROR
web1             absent                                     its engine is in no swarm
web2             absent                                     machine web2 is stopped

"#]]
    );
    world
        .berth(&["use", "prod"])
        .code(1)
        .says("no manager that can decide");
    world
        .berth(&["swarm", "leave", "web2"])
        .code(1)
        .says("machine web2 does not answer and cannot leave by itself");
    world
        .berth(&["swarm", "init", "web1", "--name", "other"])
        .code(4)
        .says("machine web1 is in swarm prod already");
    world.create(&["prod"]).ok();
    world.berth(&["rm", "-y", "prod"]).ok();
    world.berth(&["rm", "-y", "web2"]).ok().says(
        "warning: web2 is in swarm prod, which still counts on it: `berth swarm leave web2` first",
    );
    assert!(world.data().join("swarms/prod").exists());
    let ran = world.berth(&["rm", "-y", "web1"]).ok();
    assert!(!ran.stderr.contains("warning"), "{ran:?}");
    assert!(!world.data().join("swarms/prod").exists());
}

/// What an engine says that is in a swarm, as this.
fn taking_part(node: &str, manages: bool) -> String {
    format!(
        r#"{{"Swarm":{{"NodeID":"{node}","NodeAddr":"10.0.0.1","LocalNodeState":"active","ControlAvailable":{manages}}}}}"#
    )
}

/// A node as the manager knows it.
fn node(id: &str, role: &str, state: &str) -> String {
    let manages = match role {
        "manager" => r#","ManagerStatus":{"Leader":true,"Reachability":"reachable"}"#,
        _ => "",
    };
    format!(
        r#"{{"ID":"{id}","Spec":{{"Role":"{role}","Availability":"active"}},"Description":{{"Hostname":"{id}"}},"Status":{{"State":"{state}"}}{manages}}}"#
    )
}

#[test]
fn a_node_that_left_behind_berths_back_is_told_of() {
    let (world, engines) = world(&["web1", "web2"]);
    let folder = world.data().join("swarms/web");
    fs::create_dir_all(&folder).unwrap();
    let record = "version = 1\nname = 'web'\nid = '5f0c6a1e-0a8e-4a53-9d3c-1f2a3b4c5d6e'\nmanagers = 1\n[machines]\nweb1 = 'n1'\nweb2 = 'n2'\n";
    fs::write(folder.join("swarm.toml"), record).unwrap();
    let nodes = |state: &str| {
        let nodes = [node("n1", "manager", "ready"), node("n2", "worker", state)];
        format!("[{}]", nodes.join(","))
    };
    engines[0].answers("/info", &taking_part("n1", true));
    engines[0].answers("/nodes", &nodes("ready"));
    engines[1].answers("/info", &taking_part("n2", false));
    let group = "[groups.web]\nnames = ['web1', 'web2']\nswarm = { managers = 1 }\n";
    let file = format!(
        "fleet = 'prod'\n[defaults]\ndriver = 'sshd'\nimage = './tiny.qcow2'\nengine = 'docker@28.5'\nmemory = '64M'\n{group}"
    );
    fs::write(world.path("fleet.toml"), file).unwrap();
    world.berth(&["swarm", "status", "web"]).ok();
    let plan = world.berth(&["plan"]);
    assert!(!plan.stdout.contains("swarm web"), "{plan:?}");

    // It was told to leave by its own docker; the manager only knows that it is away.
    engines[0].answers("/nodes", &nodes("down"));
    engines[1].answers("/info", r#"{"Swarm":{"LocalNodeState":"inactive"}}"#);
    let status = world.berth(&["swarm", "status", "web"]).code(5);
    assert!(
        status.stdout.contains("its engine is in no swarm"),
        "{status:?}"
    );
    let plan = world.berth(&["plan"]).code(6);
    assert!(plan.stdout.contains("~ swarm web"), "{plan:?}");
    assert!(
        plan.stdout.contains("- web2 its engine is in no swarm")
            && plan.stdout.contains("+ web2 in it"),
        "{plan:?}"
    );

    // Nobody knows of it any more.
    engines[0].answers("/nodes", &format!("[{}]", node("n1", "manager", "ready")));
    let plan = world.berth(&["plan"]).code(6);
    assert!(plan.stdout.contains("- web2 not in it"), "{plan:?}");
    fs::remove_dir_all(&folder).unwrap();
    let _ = fs::remove_dir_all(world.path("docker/contexts/meta"));
}
