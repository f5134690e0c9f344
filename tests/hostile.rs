//! Guests that were taken over: what they answer changes nothing on this computer and holds nobody up.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use support::{Ran, World};

/// What a command may take that is given a few seconds for its machine.
const SOON: Duration = Duration::from_secs(60);

/// A machine that answers every command with what a script prints.
fn answering(script: &str) -> World {
    let world = World::new();
    world.create(&["m1"]).ok();
    world.berth(&["stop", "m1"]).ok();
    let path = world.path("answer");
    fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let config = world.file("m1", "vm/sshd_config");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(config, format!("{text}ForceCommand {}\n", path.display())).unwrap();
    world.berth(&["start", "m1"]).ok();
    world
}

/// It failed soon, in a few words, none of which a terminal would obey.
#[track_caller]
fn harmless(ran: &Ran, begun: Instant) {
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(ran.code == 1, "{ran:?}");
    assert!(ran.stderr.len() < 8 << 10, "{} bytes", ran.stderr.len());
    let obeyed = |c: char| c.is_control() && c != '\n';
    assert!(!ran.stderr.contains(obeyed), "{:?}", ran.stderr);
}

#[test]
fn a_guest_that_never_stops_talking_is_cut_off() {
    let world = answering("printf '\\036os\\n'; exec yes 'ID=debian'");
    let before = world.snapshot();
    let begun = Instant::now();
    let ran = world.berth(&["provision", "--engine", "docker", "m1"]);
    harmless(&ran, begun);
    world.berth(&["kill", "m1"]).ok();
    let changed: Vec<_> = world
        .snapshot()
        .into_iter()
        .filter(|file| !before.contains(file))
        .map(|(path, _)| path.file_name().unwrap().to_owned())
        .collect();
    // What is wanted was written down.
    let may = ["journal", "machine.toml"];
    let allowed = |name: &std::ffi::OsString| may.iter().any(|allowed| name == allowed);
    assert!(changed.iter().all(allowed), "{changed:?}");
}

#[test]
fn what_a_guest_calls_itself_is_shown_without_its_escapes() {
    let world = answering(
        "printf '\\036os\\nID=\"pwn\\033]0;title\\007ed\"\\nPRETTY_NAME=\"\\033[2J\\033[31mowned\\r\"\\n\\036uid\\n0\\n\\036arch\\nx86_64\\n'",
    );
    let begun = Instant::now();
    let ran = world.berth(&["provision", "--engine", "docker", "m1"]);
    harmless(&ran, begun);
    assert!(ran.stderr.contains("owned"), "{ran:?}");
}

#[test]
fn words_of_failing_commands_are_shown_without_their_escapes() {
    let world = answering("printf '\\033[2J\\033]52;c;cm0gLXJm\\007no tar for you\\n' >&2; exit 9");
    let begun = Instant::now();
    let ran = world.berth(&["cp", "m1:/etc/hostname", "here"]);
    harmless(&ran, begun);
    assert!(ran.stderr.contains("no tar for you"), "{ran:?}");
    assert!(!world.path("here").exists());
}

#[test]
fn an_archive_that_leads_out_of_its_folder_does_not() {
    let world = World::new();
    let shell = |line: &str| {
        world
            .finish(world.program("bash").args(["-euc", line]))
            .ok();
    };
    // First a link that leads out, then a file in the folder that the link pretends to be; then names that lead out.
    shell(
        "mkdir victim; echo safe > victim/file; mkdir -p a/d; ln -s $PWD/victim a/d/out; \
         mkdir -p b/d/out; echo owned > b/d/out/file; echo owned > b/up; \
         tar -cf evil.tar -C a d; tar -rf evil.tar -C b d/out/file; \
         tar -rf evil.tar -P --transform \"s,^up,../up,\" -C b up; \
         tar -rf evil.tar -P --transform \"s,^up,$PWD/up,\" -C b up",
    );
    let hostile = answering(&format!("exec cat {}", world.path("evil.tar").display()));
    let begun = Instant::now();
    let to = world.path("here");
    let ran = hostile.berth(&["cp", "m1:/srv/d", &to.display().to_string()]);
    assert!(begun.elapsed() < SOON);
    assert_eq!(
        fs::read_to_string(world.path("victim/file")).unwrap(),
        "safe\n",
        "{ran:?}"
    );
    assert!(!world.path("up").exists() && !world.path("../up").exists());
    // What was cut out or refused is no reason to leave a half.
    assert!(ran.code == 0 || !to.exists(), "{ran:?}");
    let drafts = fs::read_dir(world.path("")).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with(".berth-cp")
    });
    assert_eq!(drafts.count(), 0);
}

#[test]
fn what_is_no_ssh_server_is_given_up_on_by_the_deadline() {
    let endless = |_: usize| vec![b'x'; 64 << 10];
    let lines = |_: usize| b"welcome\r\n".repeat(1000);
    let greets = |sent: usize| match sent {
        0 => b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        _ => vec![0; 64 << 10],
    };
    let escapes = |_: usize| b"SSH-2.0-\x1b[2J\x1b[31mowned\r\n\x07\x07".to_vec();
    answers_with(endless);
    answers_with(lines);
    answers_with(greets);
    answers_with(escapes);
}

/// Starts a machine in whose place something else listens.
#[track_caller]
fn answers_with(answer: impl Fn(usize) -> Vec<u8> + Send + 'static) {
    let world = World::new();
    world.create(&["m1"]).ok();
    let port = world.row("m1")["ssh"]["port"].as_u64().unwrap();
    world.berth(&["stop", "m1"]).ok();
    let path = world.file("m1", "machine.toml");
    let record = fs::read_to_string(&path).unwrap();
    let silent = record.replace("[options]", "[options]\nmute = \"true\"");
    assert_ne!(silent, record, "{record}");
    fs::write(path, silent).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port.try_into().unwrap())).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut sent = 0;
            while stream.write_all(&answer(sent)).is_ok() {
                sent += 1;
            }
        }
    });
    let begun = Instant::now();
    let ran = world.berth(&["start", "--timeout", "3", "m1"]);
    harmless(&ran, begun);
    assert_eq!(world.state("m1"), "running");
}
