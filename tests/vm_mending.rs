//! What breaks under a machine is told truly at once, and mended: a reboot from inside, a killed supervisor, a killed
//! QEMU, and an orderly stop.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod vm;

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vm::{ANSWER, BOOT, Host, build_busybox, eventually, http_get, image, tell};

/// Published by a container that is to come back after whatever happens.
const PORT: u16 = 17_811;

/// Less memory than it has, and a larger disk than its image's.
const RESIZE: &str = "resize vm1 --memory 1536M --disk 24G";

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn a_qemu_machine_is_mended() {
    a_machine_is_mended("qemu");
}

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn a_uml_machine_is_mended() {
    a_machine_is_mended("uml");
}

fn a_machine_is_mended(driver: &'static str) {
    let host = Host::with(driver);
    host.berth("create vm1 --image")
        .arg(image("debian-13-docker"))
        .deadline(BOOT)
        .ok();
    assert_eq!(
        host.docker("context show").text(),
        "default",
        "create does not switch"
    );
    host.berth("use vm1").ok();
    build_busybox(&host);
    host.docker(&format!(
        "run --detach --restart always --name web --publish {PORT}:80 bbox httpd -f -p 80 -h /www"
    ))
    .ok();
    web_answers();
    tell(
        &host,
        &[
            ("the supervisor is killed", supervisor_killed),
            ("the engine is restarted", engine_restarted),
            ("the guest reboots itself", rebooted_from_inside),
            ("the VM is killed", vm_killed),
            ("it is resized while it runs", resized),
            ("an orderly stop and start", stopped_and_started),
            ("berth kill", killed),
        ],
    );
    host.finish();
    assert_eq!(http_get(PORT), None);
}

fn web_answers() {
    let body = eventually("the container's port answers", ANSWER, || http_get(PORT));
    assert_eq!(body, "built\n");
}

/// The supervisor's process id, by its own word.
fn supervisor_pid(host: &Host) -> Pid {
    Pid::from_raw(host.supervisor("vm1")["pid"].as_i64().unwrap() as i32)
}

fn boot_id(host: &Host) -> String {
    host.inside("vm1", "cat /proc/sys/kernel/random/boot_id")
        .text()
}

fn supervisor_killed(host: &Host) {
    let before = boot_id(host);
    kill(supervisor_pid(host), Signal::SIGKILL).unwrap();
    // A killed process is there until its last thread has ended.
    let row = eventually("ls tells that the supervisor is gone", ANSWER, || {
        Some(host.row("vm1")).filter(|row| row["error"].is_string())
    });
    assert_eq!(row["state"], "running");
    let error = row["error"].as_str().unwrap();
    assert!(error.contains("supervisor is gone"), "{error}");
    host.docker("version")
        .deadline(Duration::from_secs(30))
        .exits(1);
    host.berth("start vm1").ok();
    assert!(host.row("vm1")["error"].is_null());
    host.docker("version").ok();
    web_answers();
    assert_eq!(boot_id(host), before, "the machine itself was left alone");
}

fn engine_restarted(host: &Host) {
    host.inside("vm1", "systemctl restart docker").ok();
    host.docker("version").ok();
    assert_eq!(host.docker("exec web echo in").text(), "in");
    web_answers();
    // live-restore: the container went on.
    assert_eq!(
        host.docker("inspect --format {{.RestartCount}} web").text(),
        "0"
    );
}

fn rebooted_from_inside(host: &Host) {
    let before = boot_id(host);
    let vm = host.vm_pid("vm1");
    // The connection may end before the command does.
    host.inside("vm1", "systemctl reboot").run();
    // No berth command in between: the same context works again by itself.
    let engine = eventually("the engine answers after the reboot", BOOT, || {
        let out = host
            .docker("version --format {{.Server.Version}}")
            .deadline(Duration::from_secs(240))
            .run();
        let after = host
            .inside("vm1", "cat /proc/sys/kernel/random/boot_id")
            .run();
        let rebooted = after.code == 0 && after.stdout.trim() != before;
        (out.code == 0 && rebooted).then_some(out.stdout)
    });
    assert!(!engine.trim().is_empty());
    web_answers();
    assert_eq!(host.vm_pid("vm1"), vm, "it is the same VM");
    let row = host.row("vm1");
    assert_eq!(
        (row["state"].as_str(), row["error"].is_null()),
        (Some("running"), true)
    );
}

fn vm_killed(host: &Host) {
    kill(Pid::from_raw(host.vm_pid("vm1")), Signal::SIGKILL).unwrap();
    host.told_stopped_at_once();
    // The supervisor leaves with its VM, and takes the published port with it.
    eventually("the supervisor leaves", ANSWER, || {
        host.supervisor("vm1").is_null().then_some(())
    });
    assert_eq!(http_get(PORT), None);
    host.berth("ssh vm1 -- true")
        .exits(4)
        .says("berth start vm1");
    host.berth("start vm1").deadline(BOOT).ok();
    host.docker("version").ok();
    web_answers();
}

/// The size of the guest's root file system and of the memory that its kernel can use, in bytes.
fn has(host: &Host) -> (u64, u64) {
    let asked =
        "df -B1 --output=size / | tail -1; awk '/MemTotal/ { print $2 * 1024 }' /proc/meminfo";
    let told = host.inside("vm1", asked).text();
    let mut numbers = told
        .split_whitespace()
        .map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

fn resized(host: &Host) {
    let before = has(host);
    let resized = host.berth(RESIZE).deadline(ANSWER);
    if host.row("vm1")["driver"] == "uml" {
        resized.exits(4).says("stopped");
        assert_eq!(has(host), before);
    } else {
        let waits = "has its new memory after `berth restart vm1`";
        resized.ok().says(waits);
        let after = has(host);
        assert!(after.0 > before.0 + (900 << 20), "{before:?} {after:?}");
        assert_eq!(after.1, before.1);
    }
}

fn stopped_and_started(host: &Host) {
    let before = has(host);
    host.docker("exec web sh -c")
        .arg("echo written just now > /www/note")
        .ok();
    let stop = host.berth("stop vm1").deadline(BOOT).ok();
    assert!(!stop.stderr.contains("killed"), "{}", stop.stderr);
    assert_eq!(host.state("vm1"), "stopped");
    let console = host.berth("logs vm1").ok().stdout;
    assert!(console.contains("reboot: Power down"), "{console}");
    host.berth("stop vm1").ok();
    host.berth(RESIZE).deadline(ANSWER).ok();
    host.berth("start vm1").deadline(BOOT).ok();
    eventually("the root file system is larger", ANSWER, || {
        let (root, memory) = has(host);
        assert!(memory < before.1 - (400 << 20), "{memory} {before:?}");
        (root > 21 << 30 && root >= before.0).then_some(())
    });
    assert_eq!(
        host.docker("exec web cat /www/note").text(),
        "written just now"
    );
    // The root file system was unmounted: ext4 had no journal to recover.
    let kernel = host.inside("vm1", "dmesg").ok().stdout;
    assert!(kernel.contains("EXT4-fs"), "{kernel}");
    assert!(!kernel.contains("recovery complete"), "{kernel}");
}

fn killed(host: &Host) {
    let out = host.berth("kill vm1").ok();
    assert!(out.took < Duration::from_secs(30), "{:?}", out.took);
    assert_eq!(host.state("vm1"), "stopped");
    host.docker("version")
        .deadline(Duration::from_secs(30))
        .exits(1);
}
