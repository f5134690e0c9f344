//! Docker goes from its own repository to Debian's packages and back while a container counts.

use serde_json::Value;

use super::{INSTALL, NAME, Repository, Run, told_of};
use crate::vm::{Host, Out, begin_counting, build_busybox, still_counts};

/// What upgrades may change of a machine and have to put back, with the version that the engine says it is.
const STATE: &str = "dpkg-query -W -f='${db:Status-Abbrev} ${Package} ${Version}\n' docker.io docker-cli containerd runc tini \
     'docker-ce*' containerd.io docker-buildx-plugin docker-compose-plugin 2>/dev/null | grep ^.i; apt-mark showhold; \
     ls /etc/apt/sources.list.d /etc/apt/keyrings; docker version -f '{{.Server.Version}}'";

const NO: &str = "docker ps --quiet | grep -q . && echo no good >&2; exit 3";

/// From docker-ce 28.0.0, not held, and there again.
pub fn between_the_channels(host: &Host, repository: &Repository) {
    let upgrade = |words: &str| -> Run {
        told_of(host, repository, "upgrade dock")
            .args(words.split_whitespace())
            .deadline(INSTALL)
    };
    host.berth("use dock").ok();
    build_busybox(host);
    begin_counting(host, "");

    upgrade("--to 26.1.5 --channel distro").ok();
    is_now(host, "docker.io 26.1.5", "26.1.5", "distro");

    // Nor is the repository left that it was to come from.
    let forget = "rm /etc/apt/sources.list.d/docker.list /etc/apt/keyrings/docker.asc";
    host.inside(NAME, forget).ok();
    let before = state(host);
    let out = upgrade("--to 27.0 --channel upstream --gate")
        .arg(NO)
        .exits(1);
    taken_back(host, &before, out);
    wants(host, "26.1.5", "distro");
    for (step, is_docker_ce) in [
        ("Installing the engine", false),
        ("Checking the containers", true),
    ] {
        upgrade("--to 27.0.3 --channel upstream")
            .env("BERTH_DIE_AT", format!("upgrade:upgrade: {step}:begin"))
            .exits(137);
        still_counts(host);
        assert_eq!(state(host).contains("docker-ce "), is_docker_ce, "{step}");
        upgrade("--to 27.0")
            .exits(4)
            .says("--channel upstream` goes on with it");
        upgrade("--rollback").ok();
        assert_eq!(state(host), before, "{step}");
        still_counts(host);
        wants(host, "26.1.5", "distro");
    }

    upgrade("--to 27.0 --channel upstream").ok();
    is_now(host, "docker-ce 5:27.0.3", "27.0", "upstream");
    // The machine has kept one of this version, but not of this channel.
    upgrade("--to 26.1.5")
        .exits(1)
        .says("is not offered version 26.1.5");

    let before = state(host);
    let out = upgrade("--to 28.0 --gate").arg(NO).exits(1);
    taken_back(host, &before, out);
    wants(host, "27.0", "upstream");
    upgrade("--to 28.0").ok();
    is_now(host, "docker-ce 5:28.0.0", "28.0", "upstream");
    host.docker("rm --force counter").ok();
}

fn state(host: &Host) -> String {
    host.inside(NAME, STATE).ok().stdout
}

/// The package is there and held, the engine says the same version, and so does the record.
#[track_caller]
fn is_now(host: &Host, package: &str, version: &str, channel: &str) {
    let state = state(host);
    let (name, of_package) = package.split_once(' ').unwrap();
    assert!(state.contains(&format!("hi  {package}")), "{state}");
    assert!(state.lines().any(|line| line == name), "{state}");
    let of_package = of_package.rsplit(':').next().unwrap();
    let says = state.lines().last().unwrap();
    assert!(says.starts_with(of_package), "{state}");
    assert_eq!(host.row(NAME)["engine"]["version"], *says);
    still_counts(host);
    wants(host, version, channel);
}

/// What is recorded as asked for.
#[track_caller]
fn wants(host: &Host, version: &str, channel: &str) {
    let told = host.berth("inspect").arg(NAME).ok().stdout;
    let told: Value = serde_json::from_str(&told).unwrap();
    let engine = &told[0]["record"]["engine"];
    assert_eq!(engine["channel"], channel, "{engine}");
    assert_eq!(engine["version"], version, "{engine}");
    assert!(told[0]["error"].is_null(), "{}", told[0]["error"]);
}

#[track_caller]
fn taken_back(host: &Host, before: &str, out: Out) {
    out.says("the gate says no: no good")
        .says("again, since the upgrade");
    assert_eq!(state(host), before);
    still_counts(host);
}
