//! Whatever of a machine is killed: its state is told truly, start mends it, and nothing that was acknowledged is lost.

use std::io::{BufRead, BufReader};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::vm::{ANSWER, BOOT, Host, build_busybox, eventually, image, tell};

/// Writes a number, waits until it is on the disk, and only then says it.
const WRITER: &str = "i=$(tail -n 1 /data/log 2>/dev/null || echo 0); \
                      while :; do i=$((i+1)); echo $i >> /data/log; sync; echo $i; done";

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn whatever_is_killed_is_mended_and_nothing_acknowledged_is_lost() {
    let host = Host::with("uml");
    host.berth("create vm1 --image")
        .arg(image("debian-13-docker"))
        .deadline(BOOT)
        .ok();
    host.berth("use vm1").ok();
    build_busybox(&host);
    host.docker("run --detach --restart always --name writer --volume data:/data bbox sh -c")
        .arg(WRITER)
        .ok();
    tell(
        &host,
        &[
            ("its network helper is killed", helper_killed),
            ("its kernel is killed", kernel_killed),
            ("all of it is killed", all_killed),
        ],
    );
    host.finish();
}

fn helper_pid(host: &Host) -> i32 {
    let path = host.machine("vm1").join("vm/network.pid");
    let text = std::fs::read_to_string(path).unwrap();
    text.trim().parse().unwrap()
}

fn end(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

/// The last number that the writer said, after it has said some more.
fn acknowledged(host: &Host) -> u64 {
    let mut child = host.docker("logs --follow --tail 1 writer").spawn();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let last = lines.nth(20).unwrap().unwrap();
    // timeout(1) passes it on.
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    child.wait().unwrap();
    last.trim().parse().unwrap()
}

fn nothing_is_lost(host: &Host, acknowledged: u64) {
    let log = host.docker("exec writer cat /data/log").text();
    let numbers: Vec<u64> = log.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(numbers.contains(&acknowledged), "{acknowledged} is lost");
    let whole = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
    assert!(whole && numbers.len() == log.lines().count(), "damaged");
    let kernel = host.inside("vm1", "dmesg").ok().stdout;
    assert!(!kernel.contains("EXT4-fs error"), "{kernel}");
}

fn helper_killed(host: &Host) {
    let before = helper_pid(host);
    end(before);
    // The supervisor puts another one in its place; the guest has only noticed a pause.
    let after = eventually("another helper", ANSWER, || {
        Some(helper_pid(host)).filter(|pid| *pid != before)
    });
    assert_ne!(before, after);
    host.docker("version").ok();
    assert_eq!(host.state("vm1"), "running");
    nothing_is_lost(host, acknowledged(host));
}

fn kernel_killed(host: &Host) {
    let said = acknowledged(host);
    end(host.vm_pid("vm1"));
    host.told_stopped_at_once();
    host.berth("start vm1").deadline(BOOT).ok();
    nothing_is_lost(host, said);
}

fn all_killed(host: &Host) {
    let said = acknowledged(host);
    let supervisor = host.supervisor("vm1")["pid"].as_i64().unwrap() as i32;
    for pid in [supervisor, helper_pid(host), host.vm_pid("vm1")] {
        end(pid);
    }
    assert_eq!(host.state("vm1"), "stopped");
    host.berth("start vm1").deadline(BOOT).ok();
    assert!(host.row("vm1")["error"].is_null());
    nothing_is_lost(host, said);
}

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn a_machine_that_is_asked_to_ends_with_its_supervisor() {
    let host = Host::with("uml");
    host.berth("create vm1 --memory 512M --option supervised=true --image")
        .arg(image("debian-13-docker"))
        .deadline(BOOT)
        .ok();
    let boot = || {
        let id = "cat /proc/sys/kernel/random/boot_id";
        Some(host.inside("vm1", id).run()).filter(|out| out.code == 0)
    };
    let first = boot().unwrap().stdout;
    host.inside("vm1", "reboot").run();
    eventually("the guest's second boot", BOOT, || {
        boot().filter(|again| again.stdout != first)
    });
    end(host.supervisor("vm1")["pid"].as_i64().unwrap() as i32);
    eventually("the machine's end", ANSWER, || {
        (host.state("vm1") == "stopped").then_some(())
    });
    host.berth("start vm1").deadline(BOOT).ok();
    assert_eq!(host.state("vm1"), "running");
    host.finish();
}
