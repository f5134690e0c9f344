//! What goes wrong with machines while their engines are upgraded: each ends well, or with what it had, or is told of.

use std::time::Duration;

use super::vm::{ANSWER, BOOT, FETCH, Host, Run, image};
use super::{NEW, ROLLOUT, packages};

/// Makes the engine's package do harm where a file says so: it fills the disk before it is unpacked, or hangs while it is
/// configured.
const SPOIL: &str = "cd new; p=$(ls docker.io_*.deb); dpkg-deb -R \"$p\" ../spoilt; cd ../spoilt/DEBIAN; \
     [ -e preinst ] || { echo '#!/bin/sh' >preinst; chmod 755 preinst; }; \
     sed -i '1a [ ! -e /etc/fill ] || for s in 1048576 65536 4096 256 16; do while fallocate -l ${s}K $(mktemp /var/fill.XXXXXX) 2>/dev/null; do :; done; done' preinst; \
     sed -i '1a while [ -e /etc/hang ]; do touch /run/hangs; sleep 1; done' postinst; \
     cd ../../new; dpkg-deb -Zgzip -z1 -b ../spoilt \"$p\" >/dev/null";

/// Holds the lock that dpkg's front ends take (fcntl(2)), for so many seconds from when it says that it has it.
const HOLD: &str = "nohup perl -MFcntl -e 'open F, \">>/var/lib/dpkg/lock-frontend\"; \
     $l = pack(\"ssx4qqix4\", F_WRLCK, 0, 0, 0, 0); fcntl(F, F_SETLK, $l) or die; open H, \">/run/held\"; close H; sleep 25' \
     >/dev/null 2>&1 & until [ -e /run/held ]; do sleep 0.1; done";

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn machines_that_fail_under_an_upgrade_are_never_left_in_between() {
    let host = Host::with("uml");
    host.berth("create f1 f2 f3 f4 --memory 512M --image")
        .arg(image("debian-13-docker"))
        .deadline(BOOT * 2)
        .ok();
    host.shell(FETCH).deadline(BOOT).ok();
    host.shell(SPOIL).ok();
    std::thread::scope(|scope| {
        scope.spawn(|| a_locked_package_manager_is_waited_for_whatever_the_clock_says(&host, "f1"));
        scope.spawn(|| a_full_disk_is_taken_back(&host, "f2"));
        scope.spawn(|| a_machine_that_dies_is_told_of_and_finished_later(&host, "f3"));
        scope.spawn(|| an_engine_that_hangs_is_not_touched(&host, "f4"));
    });
    host.finish();
}

fn upgrade(host: &Host, name: &str) -> Run {
    host.berth("rollout upgrade --channel bundle:new --yes")
        .arg(name)
        .deadline(ROLLOUT)
}

fn a_locked_package_manager_is_waited_for_whatever_the_clock_says(host: &Host, name: &str) {
    host.inside(name, "date -s 2011-11-11").ok();
    host.inside(name, HOLD).ok();
    let out = upgrade(host, name).ok();
    println!("{name}: behind the lock after {:.1?}", out.took);
    assert!(packages(host, name).contains(NEW));
    let year = host.inside(name, "pgrep -x perl; date +%Y").ok().stdout;
    assert_eq!(year.trim(), "2011", "the lock was let go, the clock left");
}

fn a_full_disk_is_taken_back(host: &Host, name: &str) {
    let before = packages(host, name);
    host.inside(name, "touch /etc/fill").ok();
    let out = upgrade(host, name)
        .exits(5)
        .says("again, since the upgrade");
    println!("{name}: taken back after {:.1?}\n{}", out.took, out.stderr);
    assert_eq!(packages(host, name), before);
    host.inside(name, "docker version && test -z \"$(dpkg --audit)\"")
        .ok();
    // The disk is full still: that is seen before anything is begun.
    let id = rollout(host, name);
    let out = host
        .berth("rollout resume")
        .arg(id.as_str())
        .deadline(ROLLOUT);
    let out = out.exits(5);
    println!("{name}: {}", out.stderr);
    assert_eq!(packages(host, name), before);
    host.inside(name, "rm /etc/fill /var/fill.*").ok();
    let out = host
        .berth("rollout resume")
        .arg(id.as_str())
        .deadline(ROLLOUT);
    out.ok();
    assert!(packages(host, name).contains(NEW));
}

fn a_machine_that_dies_is_told_of_and_finished_later(host: &Host, name: &str) {
    host.inside(name, "touch /etc/hang; sync").ok();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| upgrade(host, name).exits(5));
        let hangs = "until [ -e /run/hangs ]; do sleep 0.2; done; sync";
        host.inside(name, hangs).deadline(ROLLOUT).ok();
        // The upgrade is not waited for.
        let killed = host.berth("kill").arg(name).ok();
        assert!(killed.took < Duration::from_secs(20), "{:?}", killed.took);
        let out = running.join().unwrap();
        println!("{name}: died under it\n{}", out.stderr);
        out.says(&format!("1 failed: {name}"));
    });
    host.berth("start").arg(name).deadline(BOOT).ok();
    host.inside(name, "rm /etc/hang").ok();
    let id = rollout(host, name);
    let out = host
        .berth("rollout resume")
        .arg(id.as_str())
        .deadline(ROLLOUT);
    out.ok();
    let now = packages(host, name);
    assert!(now.contains(NEW), "{now}");
    host.inside(name, "docker version && test -z \"$(dpkg --audit)\"")
        .ok();
}

fn an_engine_that_hangs_is_not_touched(host: &Host, name: &str) {
    let before = packages(host, name);
    host.inside(name, "kill -STOP $(pidof dockerd)").ok();
    let out = upgrade(host, name).deadline(ANSWER * 2).exits(1);
    println!("{name}: given up after {:.1?}\n{}", out.took, out.stderr);
    out.says("nothing was begun: 1 of 1 cannot take part")
        .says(&format!("`berth restart {name}`"));
    assert_eq!(packages(host, name), before);
    host.inside(name, "kill -CONT $(pidof dockerd)").ok();
    assert!(super::vm::eventually(
        "it answers",
        Duration::from_secs(60),
        || { (host.inside(name, "docker version").run().code == 0).then_some(true) }
    ));
}

/// The rollout that a machine is in.
fn rollout(host: &Host, name: &str) -> String {
    let ids = host.berth("rollout history -q").text();
    let of = |id: &&str| {
        let told = host.berth("rollout status --json").arg(*id).ok().stdout;
        told.contains(&format!("\"{name}\""))
    };
    ids.lines().find(of).unwrap().to_owned()
}
