//! Docker goes from its own repository to Debian's packages and back, and from one static release to another, while a
//! container counts.

use serde_json::Value;

use super::{INSTALL, NAME, Repository, Run, told_of};
use crate::vm::{Host, Out, begin_counting, build_busybox, still_counts};

/// What upgrades may change of a machine and have to put back, with the version that the engine says it is.
const STATE: &str = "dpkg-query -W -f='${db:Status-Abbrev} ${Package} ${Version}\n' docker.io docker-cli containerd runc tini \
     'docker-ce*' containerd.io docker-buildx-plugin docker-compose-plugin 2>/dev/null | grep ^.i; apt-mark showhold; \
     ls /etc/apt/sources.list.d /etc/apt/keyrings; docker version -f '{{.Server.Version}}'";

const NO: &str = "docker ps --quiet | grep -q . && echo no good >&2; exit 3";

/// From docker-ce 28.0.0, not held, to 27.0.3 by way of docker.io.
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
    upgrade("--to 27.0.3 --channel upstream")
        .env(
            "BERTH_DIE_AT",
            "upgrade:upgrade: Checking the containers:begin",
        )
        .exits(137);
    still_counts(host);
    assert!(state(host).contains("docker-ce "));
    upgrade("--to 27.0")
        .exits(4)
        .says("--channel upstream` goes on with it");
    upgrade("--rollback").ok();
    assert_eq!(state(host), before);
    still_counts(host);
    wants(host, "26.1.5", "distro");

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
    host.docker("rm --force counter").ok();
}

/// From the static release 26.1.5 to one that says it is 27.0.3, and there it is in the end.
pub fn between_releases(host: &Host) {
    host.shell(
        "cd release; LC_ALL=C sed -i 's/26[.]1[.]5\\(+dfsg\\)/27.0.3\\1/g' docker/dockerd; \
         tar -cf - docker | gzip -1 >../docker-27.0.3.tgz",
    )
    .ok();
    // Its image went with the packages that were purged.
    build_busybox(host);
    begin_counting(host, "");
    let upgrade = |bundle: &str| {
        host.berth("upgrade dock --channel")
            .arg(format!("bundle:{bundle}"))
            .deadline(INSTALL)
    };
    let programs = || host.inside(NAME, "cd /usr/local/bin; sha256sum *").text();
    let before = programs();
    upgrade("docker-27.0.3.tgz")
        .args(["--gate", NO])
        .exits(1)
        .says("the gate says no: no good")
        .says("again, since the upgrade");
    assert_eq!(programs(), before);
    still_counts(host);

    upgrade("docker-27.0.3.tgz").ok();
    still_counts(host);
    let says = || host.docker("version --format {{.Server.Version}}").text();
    assert!(says().starts_with("27.0.3"));
    assert_eq!(host.row(NAME)["engine"]["version"], says());

    upgrade("docker.tar")
        .exits(2)
        .says("from a static release to packages");
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
