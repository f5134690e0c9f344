//! Drivers that are programs of somebody else's, and broken.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use snapbox::{assert_data_eq, str};
use support::World;

fn plugin(world: &World, name: &str, script: &str) {
    let path = world.path(format!("bin/berth-driver-{name}"));
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn welcome(protocol: u32, info: &str) -> String {
    format!(
        "read line; echo '{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{\"protocol\":{protocol},\"info\":{info}}}}}'"
    )
}

fn info(name: &str) -> String {
    format!(
        "{{\"name\":\"{name}\",\"description\":\"broken\",\"capabilities\":{{\"images\":true}},\"options\":[]}}"
    )
}

fn broken_ones(world: &World) -> Vec<&'static str> {
    plugin(world, "chatty", "echo 'Hello, I am a driver!'; cat");
    plugin(
        world,
        "dead",
        "echo 'libvirt.so.0: cannot open shared object file' >&2; exit 127",
    );
    plugin(world, "eager", "exit 0");
    plugin(
        world,
        "future",
        &format!("{}; cat", welcome(99, "{\"shape\":\"new\"}")),
    );
    plugin(
        world,
        "liar",
        &format!("{}; cat", welcome(1, &info("qemu"))),
    );
    plugin(
        world,
        "faint",
        &format!(
            "{}; read line; echo 'out of memory' >&2; exit 1",
            welcome(1, &info("faint"))
        ),
    );
    plugin(world, "endless", "tr '\\0' x </dev/zero");
    plugin(
        world,
        "rude",
        &format!(
            "{}; echo '{{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"rm\"}}'; cat",
            welcome(1, &info("rude"))
        ),
    );
    // Two answers to one call: the second is nobody's.
    plugin(
        world,
        "twice",
        &format!(
            "{}; {}; read line; echo 'no more' >&2; exit 1",
            welcome(1, &info("twice")),
            welcome(1, &info("twice")).replace("read line; ", "")
        ),
    );
    plugin(world, "silent", "while read line; do :; done");
    vec![
        "chatty", "dead", "eager", "future", "liar", "faint", "endless", "rude", "twice", "silent",
    ]
}

#[test]
fn a_broken_plugin_is_named_and_nothing_is_made() {
    let world = World::new();
    world.create(&["m1"]).ok();
    let before = world.snapshot();
    let image = world.image();
    let mut told = String::new();
    for name in broken_ones(&world) {
        let ran = world.berth(&[
            "create", "m2", "--engine", "none", "-d", name, "--image", &image,
        ]);
        told += &format!("{name}: {}", ran.told());
        world.is_as_it_was(&before, name);
    }
    assert_data_eq!(
        told,
        str![[r#"
chatty: exit 1
berth: driver chatty: it wrote what is no message: Hello, I am a driver!
dead: exit 1
berth: driver dead: it ended; its last words: libvirt.so.0: cannot open shared object file
eager: exit 1
berth: driver eager: it ended
future: exit 1
berth: driver future: it speaks version 99 of the plugin protocol, berth speaks 1
liar: exit 1
berth: driver liar: it says that it is "qemu"
faint: exit 1
berth: machine m2: driver faint: it ended; its last words: out of memory
hint: `berth logs m2` may tell more
endless: exit 1
berth: driver endless: its messages cannot be read: a message of more than 4194304 bytes
rude: exit 1
berth: machine m2: driver rude: it calls berth, which has nothing to call
hint: `berth logs m2` may tell more
twice: exit 1
berth: machine m2: driver twice: it ended; its last words: no more
hint: `berth logs m2` may tell more
silent: exit 1
berth: driver silent's answer to initialize did not happen within 10 s

"#]]
    );
}

#[test]
fn one_broken_plugin_does_not_hide_the_others() {
    let world = World::new();
    world.create(&["m1"]).ok();
    broken_ones(&world);
    let format = "{{.Name}} {{.Usable}} {{.Error}}";
    let ran = world.berth(&["driver", "ls", "--format", format]).ok();
    let known: Vec<&str> = ran
        .lines()
        .into_iter()
        .filter(|line| {
            !["qemu", "uml", "virtualbox"]
                .iter()
                .any(|own| line.starts_with(own))
        })
        .collect();
    assert_data_eq!(
        known.join("\n") + "\n",
        str![[r#"
ssh true 
chatty false driver chatty: it wrote what is no message: Hello, I am a driver!
dead false driver dead: it ended; its last words: libvirt.so.0: cannot open shared object file
eager false driver eager: it ended
endless false driver endless: its messages cannot be read: a message of more than 4194304 bytes
faint false driver faint: it ended; its last words: out of memory
future false driver future: it speaks version 99 of the plugin protocol, berth speaks 1
liar false driver liar: it says that it is "qemu"
rude false driver rude: it calls berth, which has nothing to call
silent false driver silent's answer to initialize did not happen within 10 s
sshd true 
twice false driver twice: it ended; its last words: no more

"#]]
    );

    // A machine whose driver breaks later is one row that says so.
    let record = world.file("m1", "machine.toml");
    let good = fs::read_to_string(&record).unwrap();
    fs::write(&record, good.replace("\"sshd\"", "\"dead\"")).unwrap();
    world.create(&["m2"]).ok();
    let row = world.row("m1");
    assert_eq!(row["state"], "error");
    assert!(
        row["error"]
            .as_str()
            .unwrap()
            .contains("cannot open shared object file"),
        "{row}"
    );
    assert_eq!(world.state("m2"), "running");
    world
        .berth(&["rm", "-y", "m1"])
        .code(1)
        .says("cannot open shared object file");
    fs::write(&record, good).unwrap();
}

#[test]
fn a_driver_that_is_gone_is_said_to_be() {
    let world = World::new();
    world.create(&["m1"]).ok();
    world.berth(&["kill", "m1"]).ok();
    let link = world.path("bin/berth-driver-sshd");
    let target = fs::read_link(&link).unwrap();
    fs::remove_file(&link).unwrap();
    let row = world.row("m1");
    assert_eq!(
        (&row["state"], &row["error"]),
        (&"error".into(), &"there is no driver sshd".into())
    );
    world
        .berth(&["start", "m1"])
        .code(3)
        .says("there is no driver sshd");
    // In berth's own folder it is found as well.
    fs::create_dir_all(world.data().join("plugins")).unwrap();
    std::os::unix::fs::symlink(target, world.data().join("plugins/berth-driver-sshd")).unwrap();
    world.berth(&["start", "m1"]).ok();
    assert_eq!(world.state("m1"), "running");
}

#[test]
fn a_drivers_options_are_explained_and_taken_from_the_environment() {
    let world = World::new();
    let help = world.berth(&["create", "-d", "sshd", "--help"]).ok().stdout;
    let options = help.find("\nOptions of driver").map(|at| &help[at..]);
    assert_data_eq!(
        options.unwrap_or(&help),
        str![[r#"

Options of driver sshd (-o KEY=VALUE, or the variable):
  -o mute=true|false
          runs, but never answers [default: false] [env: BERTH_SSHD_MUTE]
  -o stubborn=true|false
          does not shut down when asked [default: false] [env: BERTH_SSHD_STUBBORN]
  -o frail=true|false
          dies the first time that it boots [default: false] [env: BERTH_SSHD_FRAIL]
  -o jump=text
          hosts on the way there, with commas [env: BERTH_SSHD_JUMP]

"#]]
    );
    let help = world.berth(&["create", "-d", "nobody", "--help"]).ok();
    assert!(!help.stdout.contains("Options of driver"));

    let args = world.create_args(&["m1", "-o", "mute=false"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let create = |variable: &str, value: &str| {
        let mut command = world.command(&args);
        world.finish(command.env("BERTH_SSHD_MUTE", "true").env(variable, value))
    };
    // What is said on the command line wins.
    create("BERTH_SSHD_FRAIL", "maybe")
        .code(2)
        .says("is neither true nor false");
    create("BERTH_SSHD_FRAIL", "true")
        .ok()
        .says("it is started once more");
}
