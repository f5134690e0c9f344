//! Hosts that let in a key with a passphrase.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use support::World;
use support::host::Host;

const WORDS: &str = "open sesame";

/// A host whose user's key has the passphrase [`WORDS`].
fn host(world: &World) -> Host {
    let host = Host::start(world, "h", "");
    let sealed = Command::new("ssh-keygen")
        .args(["-q", "-p", "-a", "4", "-P", "", "-N", WORDS, "-f"])
        .arg(host.path("user_key"))
        .status();
    assert!(sealed.unwrap().success());
    host
}

/// `berth passphrase keep` of the user's key, given this line.
fn keep(world: &World, host: &Host, line: &str) -> (Option<i32>, String) {
    let key = host.path("user_key").display().to_string();
    let out = world.berth_reading(&["passphrase", "keep", &key], line.as_bytes());
    let told = String::from_utf8(out.stderr).unwrap();
    assert!(!told.contains(WORDS), "{told}");
    (out.status.code(), told)
}

#[test]
fn a_key_lets_in_once_its_passphrase_is_known() {
    let world = World::new();
    let host = host(&world);
    let options = host.options();
    let mut create = vec!["create", "h1", "--engine", "none"];
    create.extend(options.iter().map(String::as_str));
    let refused = world.berth(&create).code(1);
    let refused = refused.says("user_key has a passphrase");
    let refused = refused.says("`berth passphrase keep ");

    let (code, told) = keep(&world, &host, "open\n");
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("that is not its passphrase"), "{told}");
    let secrets = world.data().join("secrets");
    let kept = || fs::read_dir(&secrets).map_or(0, Iterator::count);
    assert_eq!(kept(), 0);
    assert_eq!(keep(&world, &host, "\n").0, Some(2));

    assert_eq!(
        keep(&world, &host, &format!("{WORDS}\n")),
        (Some(0), String::new())
    );
    assert_eq!(kept(), 1);
    for file in fs::read_dir(&secrets).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert!(refused.stderr.contains("create --resume h1"));
    world.berth(&["create", "--resume", "h1"]).ok();
    assert_eq!(world.state("h1"), "running");
    let run = ["exec", "h1", "--", "true"];
    world.berth(&run).ok();
    world
        .berth(&["exec", "h1", "--keep", "5m", "--", "true"])
        .ok();
    world.berth(&run).ok();
    world.berth(&["exec", "--keep", "0"]).ok();

    // It is nowhere but there.
    let inspected = world.berth(&["inspect", "h1"]).ok().stdout;
    assert!(!inspected.contains(WORDS), "{inspected}");
    for (path, _) in world.snapshot() {
        let told = fs::read(&path).unwrap_or_default();
        let has = String::from_utf8_lossy(&told).contains(WORDS);
        assert!(!has || path.starts_with(&secrets), "{}", path.display());
    }

    let key = host.path("user_key");
    let text = key.display().to_string();
    for _ in 0..2 {
        world.berth(&["passphrase", "forget", &text]).ok();
    }
    assert_eq!(kept(), 0);
    world.berth(&run).code(5).says("has a passphrase");

    // Of a key that is gone it goes too, by any path to it.
    assert_eq!(keep(&world, &host, &format!("{WORDS}\n")).0, Some(0));
    fs::remove_file(&key).unwrap();
    let mut forget = world.command(&["passphrase", "forget", "user_key"]);
    world.finish(forget.current_dir(key.parent().unwrap())).ok();
    assert_eq!(kept(), 0);
}

#[test]
fn a_key_without_one_and_what_is_no_key_are_refused() {
    let world = World::new();
    let host = Host::start(&world, "h", "");
    let (code, told) = keep(&world, &host, "x\n");
    assert_eq!(code, Some(2));
    assert!(told.contains("has none"), "{told}");
    fs::write(host.path("user_key"), "nonsense").unwrap();
    assert_eq!(keep(&world, &host, "x\n").0, Some(2));
    fs::remove_file(host.path("user_key")).unwrap();
    assert_eq!(keep(&world, &host, "x\n").0, Some(1));
}
