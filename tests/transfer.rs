//! `berth export` and `berth import`: an adopted host goes on to another computer.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use snapbox::{assert_data_eq, str};
use support::engine::Engine;
use support::host::Host;
use support::{Ran, World};

/// Berth on another computer: its own home and docker configuration.
fn elsewhere(world: &World, args: &[&str]) -> Ran {
    let mut command = world.command(args);
    command
        .env("BERTH_HOME", world.path("b2"))
        .env("DOCKER_CONFIG", world.path("docker2"));
    world.finish(&mut command)
}

fn adopt(world: &World, host: &Host, name: &str, more: &[&str]) {
    let options = host.options();
    let mut args = vec!["create", name];
    args.extend(options.iter().map(String::as_str));
    args.extend(more);
    world.berth(&args).ok();
}

#[test]
fn a_host_goes_on_to_another_computer_without_its_key() {
    let world = World::new();
    let socket = world.path("engine.sock");
    let _engine = Engine::start(&socket);
    let mut host = Host::start(
        &world,
        "h",
        &format!(" DOCKER_HOST=unix://{}", socket.display()),
    );
    adopt(&world, &host, "h1", &["-l", "role=ci"]);
    let exported = world.berth(&["export", "h1"]).ok().stdout;
    assert!(!exported.contains("PRIVATE KEY"), "{exported}");
    fs::write(world.path("h1.toml"), &exported).unwrap();
    let key = host.path("user_key").display().to_string();
    elsewhere(&world, &["import", "h1.toml"])
        .code(2)
        .says("say with --key which one");
    elsewhere(
        &world,
        &["import", "h1.toml", "--key", &key, "--name", "build"],
    )
    .ok();
    let rows = elsewhere(&world, &["ls", "--json"]).ok().stdout;
    let rows: serde_json::Value = serde_json::from_str(&rows).unwrap();
    assert_eq!(rows[0]["name"], "build");
    assert_eq!(rows[0]["state"], "running");
    assert_eq!(rows[0]["engine"]["version"], "28.5.2");
    assert_eq!(rows[0]["labels"]["role"], "ci");
    let answer = elsewhere(&world, &["ssh", "build", "--", "echo there"]).ok();
    assert_eq!(answer.stdout, "there\n");
    elsewhere(&world, &["rm", "-y", "build"]).ok();

    // A key that does not let in, and a host that is another one by now: nothing is left of either.
    support::host::key(&world.path("stranger"));
    elsewhere(&world, &["import", "h1.toml", "--key", "stranger"])
        .code(1)
        .says("does not let");
    host.change_key("");
    elsewhere(&world, &["import", "h1.toml", "--key", &key])
        .code(1)
        .says("does not have the host key recorded");
    assert_eq!(elsewhere(&world, &["ls", "-q"]).ok().stdout, "");
    world.berth(&["rm", "-y", "h1"]).ok();
}

#[test]
fn a_key_goes_along_only_when_it_is_told_to_and_into_a_private_file() {
    let world = World::new();
    let host = Host::start(&world, "h", "");
    adopt(
        &world,
        &host,
        "h1",
        &["--engine", "none", "-o", "install-key=true"],
    );
    world
        .berth(&["export", "h1", "--with-key"])
        .code(2)
        .says("--output");
    world
        .berth(&["export", "h1", "--with-key", "-o", "h1.toml"])
        .ok();
    let mode = fs::metadata(world.path("h1.toml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let keys = || fs::read_to_string(host.path("home/.ssh/authorized_keys")).unwrap();
    let before = keys().lines().count();
    elsewhere(&world, &["import", "h1.toml"]).ok();
    // Each computer has a key of its own, so that each can let go without shutting the other out.
    assert_eq!(keys().lines().count(), before + 1, "{}", keys());
    assert!(!world.path("b2/machines/h1/login_key").exists());
    world.berth(&["rm", "-y", "h1"]).ok();
    elsewhere(&world, &["ssh", "h1", "--", "true"]).ok();
    elsewhere(&world, &["rm", "-y", "h1"]).ok();
    assert_eq!(keys().lines().count(), before - 1);
}

#[test]
fn what_is_no_export_is_refused() {
    let world = World::new();
    let host = Host::start(&world, "h", "");
    adopt(&world, &host, "h1", &["--engine", "none"]);
    world.create(&["vm1"]).ok();
    let good = world.berth(&["export", "h1"]).ok().stdout;
    let key = host.path("user_key").display().to_string();
    fs::write(world.path("good.toml"), &good).unwrap();
    let mut told = String::new();
    for (what, text) in [
        ("empty", String::new()),
        ("garbage", "\u{1}\u{2}".into()),
        ("form", good.replace("berth_export = 1", "berth_export = 2")),
        ("name", good.replace("name = \"h1\"", "name = \"../h1\"")),
        ("path", good.replace("\"ssh.toml\" =", "\"../ssh.toml\" =")),
        (
            "host key",
            good.replace("ssh-ed25519 AAAA", "ssh-ed25519 BBBB"),
        ),
        (
            "driver",
            good.replace("driver = \"ssh\"", "driver = \"qemu\""),
        ),
        ("long", "#".repeat(300 << 10)),
    ] {
        fs::write(world.path("x.toml"), &text).unwrap();
        let ran = elsewhere(&world, &["import", "x.toml", "--key", &key]);
        told += &format!("{what}: {}", ran.told());
    }
    for args in [
        &["export", "nobody"][..],
        &["export", "vm1"],
        &["import", "nowhere.toml"],
        &["import", "good.toml", "--key", "nowhere"],
    ] {
        told += &format!("{}: {}", args.join(" "), world.berth(args).told());
    }
    assert_data_eq!(
        told,
        str![[r#"
empty: exit 2
berth: the file: is no export of berth's: missing field `berth_export`
garbage: exit 2
berth: the file: is no export of berth's: key with no value, expected `=`
form: exit 2
berth: the file: is of another berth's form; use one of the same version
name: exit 2
berth: "../h1" cannot be a machine's name: a name has only lower-case letters a-z, digits and hyphens
path: exit 2
berth: the file: names files that are no driver's
host key: exit 2
berth: the file: does not tell the host's key
driver: exit 2
berth: machine h1: the qemu driver has no option "host"
hint: it has: accel, machine, cpu, boot, network
long: exit 2
berth: x.toml is no export of berth's: it is too long
export nobody: exit 3
berth: there is no machine nobody
hint: there are: h1, vm1
export vm1: exit 4
berth: machine vm1: the sshd driver cannot hand machines over: their disks lie where it made them
import nowhere.toml: exit 1
berth: nowhere.toml: No such file or directory (os error 2)
import good.toml --key nowhere: exit 2
berth: --key: there is no file nowhere

"#]]
    );
    // What would become a line of ssh's configuration is no host's name.
    let evil = good.replace(
        "hostname = \"127.0.0.1\"",
        "hostname = \"127.0.0.1\\\\n ProxyCommand id\"",
    );
    assert_ne!(evil, good);
    fs::write(world.path("x.toml"), &evil).unwrap();
    elsewhere(&world, &["import", "x.toml", "--key", &key])
        .code(1)
        .says("its address: it is none");
    assert_eq!(elsewhere(&world, &["ls", "-q"]).ok().stdout, "");
}
