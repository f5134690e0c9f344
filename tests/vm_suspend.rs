//! A machine is frozen and goes on, is kept and restored, and is copied, while and after it runs: with QEMU.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod vm;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use vm::{ANSWER, BOOT, Host, build_busybox, eventually, http_get, image};

/// What a shell says of a program that SIGKILL ended.
const KILLED: i32 = 137;

/// A published port of the machine's.
const PORT: u16 = 18_473;

/// The clock of a guest may be so wrong, with the time that the question takes under emulation (s).
const WRONG: u64 = 5;

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn a_machine_is_frozen_kept_and_copied() {
    let host = Host::with("qemu");
    host.berth("create vm1 --memory 640M --timings --image")
        .arg(image("debian-13-docker"))
        .deadline(BOOT)
        .ok();
    host.berth("use vm1").ok();
    build_busybox(&host);
    host.docker("run --detach --name count bbox sh -c")
        .arg("i=0; while :; do i=$((i+1)); echo $i; sleep 0.5; done")
        .ok();
    host.docker(&format!(
        "run --detach --name web --publish {PORT}:80 bbox httpd -f -p 80 -h /www"
    ))
    .ok();
    answers();

    goes_on_after_all_processes_were_ended(&host);
    goes_on_after_berth_was_killed(&host);
    goes_back_to_a_snapshot(&host);
    what_runs_is_copied(&host);
    what_is_suspended_shuts_down(&host);
    what_is_off_is_kept_and_copied(&host);
    host.finish();
}

fn goes_on_after_all_processes_were_ended(host: &Host) {
    let last = counted(host);
    host.berth("suspend vm1").deadline(ANSWER).ok();
    assert_eq!(host.state("vm1"), "suspended");
    nothing_runs(host);
    host.berth("suspend vm1").ok();
    host.berth("snapshot create vm1 s")
        .exits(4)
        .says("suspended");
    // So that a clock that stood still would be seen.
    std::thread::sleep(Duration::from_secs(WRONG + 1));
    let resumed = host.berth("resume vm1 --timings").deadline(BOOT).ok();
    println!("{}", resumed.stderr);
    assert_eq!(host.state("vm1"), "running");
    engine_answers_without_ssh(host);
    assert!(counted(host) >= last);
    answers();
    clock_is_right(host, "vm1");
    host.berth("resume vm1").deadline(BOOT).ok();
    host.berth("start vm1").deadline(BOOT).ok();
}

/// A guest that goes on is spared SSH: what it is asked goes by its hypervisor.
fn engine_answers_without_ssh(host: &Host) {
    let later =
        "systemd-run --quiet --on-active=20 --timer-property=AccuracySec=1 systemctl start ssh";
    host.inside("vm1", &format!("{later}; systemctl stop ssh"))
        .ok();
    host.inside("vm1", "true").exits(255);
    counted(host);
    answers();
    eventually("SSH", ANSWER, || {
        (host.inside("vm1", "true").run().code == 0).then_some(())
    });
}

fn goes_on_after_berth_was_killed(host: &Host) {
    let last = counted(host);
    let killed = |step: &str, command: &str| {
        let berth = host.berth(command).env("BERTH_DIE_AT", step);
        berth.deadline(BOOT).exits(KILLED);
    };
    killed("suspend:memory:begin", "suspend vm1");
    assert_eq!(host.state("vm1"), "running");
    killed("suspend:memory:work", "suspend vm1");
    assert_eq!(host.state("vm1"), "suspended");
    killed("start:power:begin", "start vm1");
    assert_eq!(host.state("vm1"), "suspended");
    killed("start:power:work", "resume vm1");
    assert_eq!(host.state("vm1"), "running");
    host.berth("start vm1").deadline(BOOT).ok();
    assert!(counted(host) >= last);
    answers();
}

fn goes_back_to_a_snapshot(host: &Host) {
    host.inside(
        "vm1",
        "echo kept >/root/before; echo kept >/run/before; sync",
    )
    .ok();
    host.berth("snapshot create vm1 s1").deadline(ANSWER).ok();
    let at = counted(host);
    host.berth("snapshot create vm1 s1")
        .exits(4)
        .says("already");
    host.inside(
        "vm1",
        "rm /root/before; echo new >/run/after; echo new >/root/after; sync",
    )
    .ok();
    let rows = host.berth("snapshot ls vm1 --json").text();
    let rows: serde_json::Value = serde_json::from_str(&rows).unwrap();
    assert_eq!(rows[0]["name"], "s1");
    assert!(rows[0]["memory"].as_u64().unwrap() > 50 << 20, "{rows:#}");

    host.berth("snapshot restore vm1 s1").deadline(BOOT).ok();
    assert_eq!(host.state("vm1"), "running");
    let files = "cat /root/before /run/before; ls /root /run | grep -c after || true";
    assert_eq!(host.inside("vm1", files).text(), "kept\nkept\n0");
    // It was there already when the snapshot was taken, and all that it said later is gone.
    let log = host.docker("logs count").text();
    assert!(
        log.lines()
            .any(|line| line == at.saturating_sub(2).to_string())
    );
    counted(host);
    answers();
    clock_is_right(host, "vm1");
    host.berth("snapshot rm vm1 s1").deadline(ANSWER).ok();
    assert_eq!(host.berth("snapshot ls vm1 -q").text(), "");
    host.berth("snapshot restore vm1 s1").exits(3);
}

fn what_runs_is_copied(host: &Host) {
    host.inside("vm1", "echo mine >/root/unwritten").ok();
    let last = counted(host);
    let copied = host.berth("clone vm1 copy1 --timings").deadline(BOOT).ok();
    println!("{}", copied.stderr);
    assert!(counted(host) > last, "the original ran on");
    are_two_machines(host, "vm1", "copy1");
    assert_eq!(host.inside("copy1", "cat /root/unwritten").text(), "mine");
    let images = host.docker("--context copy1 images --quiet bbox").text();
    assert!(!images.is_empty());
    host.berth("rm --yes copy1").deadline(ANSWER).ok();
}

fn what_is_suspended_shuts_down(host: &Host) {
    host.berth("suspend vm1").deadline(ANSWER).ok();
    host.berth("stop vm1").deadline(ANSWER).ok().says("goes on");
    assert_eq!(host.state("vm1"), "stopped");
    host.berth("resume vm1").exits(4).says("berth start vm1");
}

fn what_is_off_is_kept_and_copied(host: &Host) {
    host.berth("snapshot create vm1 off").ok();
    host.berth("snapshot restore vm1 off").ok();
    assert_eq!(host.state("vm1"), "stopped");
    let killed = host
        .berth("clone vm1 copy2")
        .env("BERTH_DIE_AT", "create:disk:work");
    killed.deadline(BOOT).exits(KILLED);
    assert_eq!(host.state("copy2"), "creating");
    host.berth("create --resume copy2").deadline(BOOT).ok();
    assert_eq!(host.berth("snapshot ls copy2 -q").text(), "");
    let original = host.machine("vm1").join("id_ed25519.pub");
    let original = std::fs::read_to_string(original).unwrap();
    let keys = host
        .inside("copy2", "cat /root/.ssh/authorized_keys")
        .text();
    assert!(
        !keys.contains(original.split(' ').nth(1).unwrap()),
        "{keys}"
    );
}

/// Who a machine is, to itself and to others.
fn identity(host: &Host, name: &str) -> Vec<String> {
    let script = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub /proc/sys/kernel/random/boot_id; hostname; \
                  cat /sys/class/net/e*/address; docker info --format '{{.ID}}'";
    let told = host.inside(name, script).text();
    told.lines().map(str::to_owned).collect()
}

#[track_caller]
fn are_two_machines(host: &Host, one: &str, two: &str) {
    let (one, two) = (identity(host, one), identity(host, two));
    assert_eq!((one.len(), two.len()), (6, 6), "{one:?}, {two:?}");
    for (one, two) in one.iter().zip(&two) {
        assert_ne!(one, two);
    }
    assert_eq!(two[3], "copy1");
}

/// The last number that the container counted to, which left none out and began once.
#[track_caller]
fn counted(host: &Host) -> u64 {
    let log = host.docker("logs count").text();
    let numbers: Vec<u64> = log.lines().map(|line| line.parse().unwrap()).collect();
    let all: Vec<u64> = (1..).take(numbers.len()).collect();
    assert_eq!(numbers, all);
    *numbers.last().unwrap()
}

#[track_caller]
fn answers() {
    let body = eventually("the published port answers", ANSWER, || http_get(PORT));
    assert_eq!(body, "built\n");
}

#[track_caller]
fn clock_is_right(host: &Host, name: &str) {
    let told: u64 = host.inside(name, "date +%s").text().parse().unwrap();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert!(now.abs_diff(told) <= WRONG, "{told} in it, {now} here");
}

/// Nothing that berth started is there any more, as after this computer was off.
#[track_caller]
fn nothing_runs(host: &Host) {
    let left = host.shell("grep -lsF -- \"$NEEDLE\" /proc/[0-9]*/cmdline || true");
    // Not what this line itself runs as: it does not name the folder.
    let left = left.env("NEEDLE", host.machine("vm1")).text();
    assert_eq!(left, "");
}
