//! `kill -9` of berth while it freezes a machine, and while it clones one.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod vm;

use std::fs;
use std::io::{BufRead, BufReader, Read};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vm::{BOOT, Host, Run, assert_nothing_left, image};

/// What a template and its clones are made with. Debian 12 has no engine to wait for.
const SIZE: &str = "--memory 512M --cpus 2";

fn berth(host: &Host, command: &str) -> Run {
    let words = format!("{command} {SIZE} --image");
    host.berth(&words).arg(image("debian-12")).deadline(BOOT)
}

/// Runs berth, and kills it when it says that it has come to `phase`.
fn killed_at(run: Run, phase: &str) {
    let mut timeout = run.spawn();
    let (pid, stderr) = (timeout.id(), timeout.stderr.take().unwrap());
    let mut told = String::new();
    let end = format!(": {phase}");
    for line in BufReader::new(stderr).lines() {
        let line = line.unwrap();
        told += &format!("{line}\n");
        if line.ends_with(&end) {
            let berth = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
            let berth = Pid::from_raw(berth.trim().parse().unwrap());
            kill(berth, Signal::SIGKILL).unwrap();
            break;
        }
    }
    let mut stdout = String::new();
    let out = timeout.stdout.take().unwrap();
    BufReader::new(out).read_to_string(&mut stdout).unwrap();
    assert!(!timeout.wait().unwrap().success(), "{told}");
    assert_eq!(stdout, "", "it was done before it was killed: {told}");
}

/// What is in the folder of the templates, by name.
fn templates(host: &Host) -> Vec<String> {
    let entries = fs::read_dir(host.berth_home().join("templates"));
    let names = entries.into_iter().flatten().flatten();
    names
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn a_berth_that_is_killed_leaves_no_half_template_and_no_half_clone() {
    let host = Host::with("qemu");
    let bookworm = image("debian-12");
    host.berth("image build").arg(&bookworm).deadline(BOOT).ok();
    for phase in ["Booting", "Settling the guest", "Freezing"] {
        killed_at(berth(&host, "template build"), phase);
        assert_eq!(host.berth("template ls -q").text(), "", "{phase}");
        assert!(!templates(&host).is_empty(), "{phase}");
        host.berth("template prune --yes").ok();
        assert_eq!(templates(&host), [""; 0], "{phase}");
        assert_nothing_left(&host);
    }
    // The next one clears up as well, and goes on to the end.
    killed_at(berth(&host, "template build"), "Taking it down");
    let id = berth(&host, "template build").text();
    assert_eq!(templates(&host), [id.as_str()]);

    let mut seen = Vec::new();
    for (number, phase) in ["Restoring", "Renewing", "Joining the network"]
        .into_iter()
        .enumerate()
    {
        let [resumed, removed] = ["resumed", "removed"].map(|name| format!("{name}{number}"));
        for name in [&resumed, &removed] {
            killed_at(berth(&host, &format!("create {name} --engine none")), phase);
            broke_off(&host, name);
        }
        host.berth("template rm")
            .arg(&id)
            .exits(4)
            .says(&resumed)
            .says(&removed);
        host.berth("rm --yes").arg(&removed).ok();
        seen.push(resume(&host, &resumed));
    }
    // It was cloned, and nobody took it down.
    let run = berth(&host, "create unheard --engine none");
    let killed = run.env("BERTH_DIE_AT", "create:disk:work").run();
    assert_ne!(killed.code, 0, "{}", killed.stderr);
    broke_off(&host, "unheard");
    seen.push(resume(&host, "unheard"));
    seen.sort();
    let all = seen.len();
    seen.dedup();
    assert_eq!(seen.len(), all, "{seen:?}");

    host.berth("rm --yes --all").ok();
    host.berth("template rm").arg(&id).ok();
    assert_eq!(templates(&host), [""; 0]);
    assert_nothing_left(&host);
}

fn broke_off(host: &Host, name: &str) {
    let row = host.row(name);
    assert_eq!(row["state"], "creating");
    assert_eq!(row["error"], "create broke off at disk");
}

/// Has a create go on that broke off, and tells the machine's id.
fn resume(host: &Host, name: &str) -> String {
    let resumed = host.berth("create --resume").arg(name).deadline(BOOT).ok();
    assert!(
        !resumed.stderr.contains("booted instead"),
        "{}",
        resumed.stderr
    );
    assert!(resumed.stderr.contains(": Renewing"), "{}", resumed.stderr);
    host.inside(name, "cat /etc/machine-id").text()
}
