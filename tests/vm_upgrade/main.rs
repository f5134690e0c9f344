//! One machine's engine goes up and down between two generations while a container counts, and comes back whole from
//! everything that can go wrong on the way.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bundles;

#[path = "../vm/mod.rs"]
mod vm;

use std::time::Duration;

use vm::{
    BOOT, Host, Out, begin_counting, build_busybox, image, offer_unstable, still_counts, tell,
};

/// An upgrade with its way back, packages downloaded.
const UPGRADE: Duration = Duration::from_secs(900);

/// Debian 13's engine and the one of Debian's unstable suite, by what they begin with.
const OLD: &str = "26.1.5";
const NEW: &str = "28.5";

/// Every installed package with its version, and what is held.
const PACKAGES: &str = "dpkg-query -W docker.io docker-cli containerd runc; apt-mark showhold";

#[test]
#[ignore = "boots a VM; cargo xtask test runs it"]
fn an_engine_changes_its_version_and_nothing_is_lost() {
    let host = Host::with("uml");
    host.berth("create vm1 --memory 1G --image")
        .arg(image("debian-13-docker"))
        .deadline(BOOT)
        .ok();
    host.berth("use vm1").ok();
    build_busybox(&host);
    begin_counting(&host, "");
    offer_unstable(&host, "vm1");
    tell(
        &host,
        &[
            ("what would be done is told", told),
            (
                "it goes up, and a gate on the way down says no",
                up_and_refused,
            ),
            ("it breaks off at every step on the way down", breaks_off),
            (
                "bundles that are no good are taken back",
                bundles::are_taken_back,
            ),
        ],
    );
    host.finish();
}

fn upgrade(host: &Host, arguments: &str) -> vm::Run {
    host.berth(&format!("upgrade vm1 {arguments}"))
        .deadline(UPGRADE)
}

fn version(host: &Host) -> String {
    host.docker("version --format {{.Server.Version}}").text()
}

fn packages(host: &Host) -> String {
    host.inside("vm1", PACKAGES).ok().stdout
}

/// It failed, said so in these words, and left everything as it was.
fn taken_back(host: &Host, before: &str, out: &Out, words: &str) {
    assert!(out.stderr.contains(words), "{}", out.stderr);
    assert!(
        out.stderr.contains("again, since the upgrade"),
        "{}",
        out.stderr
    );
    assert_eq!(packages(host), before);
    still_counts(host);
}

fn told(host: &Host) {
    let plan = upgrade(host, "--dry-run --json --to").arg(NEW).ok().stdout;
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    assert!(plan[0]["from"].as_str().unwrap().starts_with(OLD));
    assert!(plan[0]["to"].as_str().unwrap().starts_with(NEW));
    assert_eq!(plan[0]["containers"][0], "counter");
    assert!(version(host).starts_with(OLD));
    upgrade(host, "--to 99").exits(1);
    assert!(host.row("vm1")["error"].is_null());
    upgrade(host, "--channel nowhere").exits(2);
    host.berth("upgrade nobody").exits(3);
}

fn up_and_refused(host: &Host) {
    upgrade(host, "--to").arg(NEW).ok();
    assert!(version(host).starts_with(NEW));
    still_counts(host);
    let held = packages(host);
    assert!(held.lines().any(|line| line == "docker.io"), "{held}");
    assert!(upgrade(host, "--to").arg(NEW).text().ends_with("already"));

    let gate = "docker ps --quiet | grep -q . && echo no good >&2; exit 3";
    let out = upgrade(host, "--to 26.1.5 --gate").arg(gate).exits(1);
    taken_back(host, &held, &out, "the gate says no: no good");
}

/// Killed at a step, an upgrade is finished by the same command, or taken back.
fn breaks_off(host: &Host) {
    let before = packages(host);
    let steps = [
        ("Keeping what is there", None),
        ("Installing the engine", Some("--rollback")),
        ("Starting the engine", Some("--rollback")),
        ("Checking the containers", Some("--to 26.1.5")),
    ];
    for (step, then) in steps {
        let at = format!("upgrade:upgrade: {step}:begin");
        upgrade(host, "--to 26.1.5")
            .env("BERTH_DIE_AT", at)
            .exits(137);
        still_counts(host);
        let Some(then) = then else {
            assert_eq!(packages(host), before);
            continue;
        };
        let told = host.row("vm1")["error"].clone();
        assert!(
            told.as_str()
                .is_some_and(|told| told.contains("upgrade broke off")),
            "{told}"
        );
        if then == "--rollback" {
            // Another upgrade would not know what was there before.
            let refused = upgrade(host, "--to 27").exits(4).stderr;
            assert!(refused.contains("broke off"), "{refused}");
        }
        upgrade(host, then).ok();
        still_counts(host);
        if then == "--rollback" {
            assert_eq!(packages(host), before, "{step}");
        }
    }
    assert!(version(host).starts_with(OLD));
    assert!(
        upgrade(host, "--rollback")
            .text()
            .contains("no upgrade broke off")
    );
}
