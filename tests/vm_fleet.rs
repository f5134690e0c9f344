//! A fleet file against real engines: what somebody changed in the machines is seen there and mended.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod vm;

use std::fs;
use std::time::Duration;

use vm::{BOOT, Host, Out, image, tell};

/// An upgrade, packages downloaded.
const UPGRADE: Duration = Duration::from_secs(600);

/// Has apt offer the unstable suite's packages when they are asked for by version only.
const OFFER_BOTH: &str = "echo 'deb [check-valid-until=no] http://deb.debian.org/debian sid main' \
     >/etc/apt/sources.list.d/sid.list; \
     printf 'Package: *\\nPin: release n=sid\\nPin-Priority: 100\\n' >/etc/apt/preferences.d/sid";

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn what_is_changed_in_machines_is_seen_there_and_mended() {
    let host = Host::with("uml");
    tell(
        &host,
        &[
            ("machines are made", made),
            ("settings and engines that were changed there", drifted),
            ("settings that the file has no more", taken_out),
            ("another version", upgraded),
            ("a swarm", swarm),
        ],
    );
    host.finish();
}

fn declare(host: &Host, web: &str, db: &str) {
    let text = format!(
        "fleet = 'prod'\n[defaults]\ndriver = 'uml'\nimage = '{}'\nmemory = '512M'\n\
         options = {{ network = 'shared:prod' }}\n[groups.web]\ncount = 2\n{web}\n[groups.db]\nname = 'db'\n{db}\n\
         [rollout]\ngate = 'docker version >/dev/null'\n",
        image("debian-13-docker")
    );
    fs::write(host.scratch().join("fleet.toml"), text).unwrap();
}

fn plan(host: &Host, code: i32) -> Out {
    host.berth("plan").exits(code)
}

fn apply(host: &Host) -> String {
    host.berth("apply --yes").deadline(UPGRADE).text()
}

fn daemon(host: &Host, name: &str) -> serde_json::Value {
    let text = host.inside(name, "cat /etc/docker/daemon.json").ok().stdout;
    serde_json::from_str(&text).unwrap()
}

const SETTINGS: &str = "daemon = { debug = true }\nregistry-mirrors = ['http://127.0.0.1:9']";

fn made(host: &Host) {
    declare(host, SETTINGS, "");
    host.berth("apply --yes").deadline(BOOT).ok();
    plan(host, 0);
    assert_eq!(daemon(host, "web-2")["debug"], true);
}

fn drifted(host: &Host) {
    host.inside("web-1", "sed -i /debug/d /etc/docker/daemon.json")
        .ok();
    host.inside("web-2", "systemctl stop docker.socket docker")
        .ok();
    host.berth("label web-1 who=me").ok();
    let seen = plan(host, 6).stdout;
    for words in [
        "debug in the machine changed there",
        "- engine in the machine ",
        "- label who me",
        "2 to change, 1 as they are to be",
    ] {
        assert!(seen.contains(words), "no {words:?} in {seen}");
    }
    assert_eq!(apply(host), "web-1 changed\nweb-2 changed");
    plan(host, 0);
    assert_eq!(daemon(host, "web-1")["debug"], true);
    host.docker("--context web-2 version").ok();
}

fn taken_out(host: &Host) {
    declare(host, "", "");
    // What somebody else put there stays.
    host.inside(
        "web-1",
        "sed -i 's/{/{\"shutdown-timeout\": 7,/;:a;n;ba' /etc/docker/daemon.json",
    )
    .ok();
    plan(host, 6);
    apply(host);
    plan(host, 0);
    let now = daemon(host, "web-1");
    assert!(
        now["debug"].is_null() && now["registry-mirrors"].is_null(),
        "{now}"
    );
    assert_eq!(now["shutdown-timeout"], 7);
}

fn upgraded(host: &Host) {
    host.inside("db", OFFER_BOTH).ok();
    declare(host, "", "engine = 'docker@28.5'");
    let seen = plan(host, 6).stdout;
    assert!(seen.contains("    - engine's version 26.1.5"), "{seen}");
    assert_eq!(apply(host), "db changed");
    plan(host, 0);
    let version = host
        .docker("--context db version --format {{.Server.Version}}")
        .text();
    assert!(version.starts_with("28.5"), "{version}");
    // Machines are asked, not remembered: one that is stopped is told by its record.
    host.berth("stop db").ok();
    assert!(
        plan(host, 0)
            .stdout
            .contains("its engine was looked at by its record only")
    );
}

fn swarm(host: &Host) {
    declare(host, "swarm = { managers = 1 }", "engine = 'docker@28.5'");
    assert!(
        plan(host, 6)
            .stdout
            .contains("~ swarm web: form\n    + managers 1\n")
    );
    apply(host);
    plan(host, 0);
    let nodes = host
        .docker("--context web node ls --format {{.Status}}")
        .text();
    assert_eq!(nodes, "Ready\nReady");
}
