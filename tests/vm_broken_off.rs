//! What broke off is finished or removed, with a real QEMU behind it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod vm;

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vm::{ANSWER, BOOT, Host, assert_nothing_left, image};

/// What a shell says of a program that SIGKILL ended.
const KILLED: i32 = 137;

fn killed_at(host: &Host, step: &str, command: &str) {
    host.berth(command)
        .env("BERTH_DIE_AT", step)
        .deadline(BOOT)
        .exits(KILLED);
}

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn a_create_killed_with_its_vm_running_is_removed_without_a_trace() {
    let host = Host::with("uml");
    let create = format!("create gone --image {}", image("debian-13-docker"));
    for step in ["create:disk:work", "create:power:work"] {
        killed_at(&host, step, &create);
        let row = host.row("gone");
        assert_eq!(row["state"], "creating", "{row:#}");
        let error = row["error"].as_str().unwrap();
        assert!(error.contains("broke off"), "{error}");
        host.berth("start gone")
            .exits(4)
            .says("create --resume gone");
        host.berth(&create).exits(4);
        host.berth("rm --yes gone").ok();
        assert_nothing_left(&host);
    }
}

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn an_interrupted_create_says_what_is_left_and_is_removed() {
    let host = Host::with("uml");
    let mut child = host
        .berth("create cut --image")
        .arg(image("debian-13-docker"))
        .spawn();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let boots = lines
        .by_ref()
        .any(|line| line.unwrap().ends_with("Booting"));
    assert!(boots);
    let begun = Instant::now();
    // timeout(1) passes the signal on.
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let said: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        said.iter().any(|line| line.contains("--resume")),
        "{said:?}"
    );
    assert_eq!(host.state("cut"), "creating");
    host.finish();
}

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn every_operation_that_was_killed_is_finished_by_the_next_one() {
    let host = Host::with("uml");
    let create = format!("create vm1 --image {}", image("debian-13-docker"));
    killed_at(&host, "create:power:work", &create);
    let vm = host.vm_pid("vm1");
    host.berth("create --resume vm1").deadline(BOOT).ok();
    assert_eq!(host.vm_pid("vm1"), vm, "the VM that ran already is used");
    assert_eq!(host.state("vm1"), "running");
    host.docker("--context vm1 version").ok();
    host.berth("create --resume vm1")
        .exits(4)
        .says("nothing to resume");

    host.berth("kill vm1").ok();
    killed_at(&host, "start:power:work", "start vm1");
    // Its QEMU runs: that is told, and so is that nobody is at work on it.
    let row = host.row("vm1");
    assert_eq!(row["state"], "running", "{row:#}");
    assert!(row["error"].is_string(), "{row:#}");
    host.berth("start vm1").deadline(BOOT).ok();
    assert!(host.row("vm1")["error"].is_null());
    host.docker("--context vm1 version").ok();

    killed_at(&host, "rm:context:work", "rm --yes vm1");
    host.docker("--context vm1 version").exits(1);
    assert!(
        host.row("vm1")["error"]
            .as_str()
            .unwrap()
            .contains("rm broke off")
    );
    host.berth("start vm1").exits(4).says("berth rm vm1");
    killed_at(&host, "rm:vm:work", "rm --yes vm1");
    assert_eq!(host.berth("ls -q").text(), "vm1");
    host.berth("rm --yes vm1").deadline(ANSWER).ok();
    assert_nothing_left(&host);
}
