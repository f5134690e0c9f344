//! Engines by all channels, in one machine: from a signed repository that is laid out as Docker's, from a bundle with
//! the machine's network cut, and back.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod repository;
mod upgrades;

#[path = "../../provision/tests/common/serve.rs"]
mod serve;
#[path = "../vm/mod.rs"]
mod vm;

use std::time::{Duration, Instant};

use berth_driver_api::Silent;
use berth_provision::family::{self, Family};
use berth_provision::os::Os;
use berth_provision::ssh::{Key, Session, Target};
use berth_provision::{Kind, Wanted, provision};
use repository::Repository;
use serde_json::Value;
use vm::{Host, Out, Run, image};

/// Packages are unpacked by an emulated guest.
const INSTALL: Duration = Duration::from_secs(900);

const NAME: &str = "dock";

#[test]
#[ignore = "boots a VM; cargo xtask test runs it"]
fn an_engine_comes_by_every_channel() {
    let host = Host::with("uml");
    host.berth("create --engine none --image")
        .args([image("debian-13"), NAME.into()])
        .deadline(INSTALL)
        .ok();
    let bundle = a_bundle_is_made(&host);
    let repository = Repository::make(host.scratch(), &bundle);
    let berth = |words: &str| told_of(&host, &repository, words);

    a_wrong_key_is_refused(&host, &repository);
    a_changed_package_is_not_installed(&host, &repository);
    a_version_is_held(&host, &repository);
    berth("provision dock --engine docker@latest").ok();
    let versions = versions(&host, &repository);
    assert_eq!(
        installed(&versions)["version"],
        "5:28.0.0-1~debian.13~trixie"
    );
    assert_eq!(installed(&versions)["held"], false);

    let begun = Instant::now();
    upgrades::between_the_channels(&host, &repository);
    println!("upgraded between the channels in {:.1?}", begun.elapsed());

    podman_answers(&host);
    a_users_own_podman_answers(&host);

    drop(repository);
    host.inside(NAME, "ip route del default").ok();
    a_bundle_needs_no_network(&host);
    kept_files_bring_an_engine_back(&host);
    a_static_release_takes_over(&host);
    host.finish();
}

/// A berth that knows the mirror and its key.
fn told_of(host: &Host, repository: &Repository, words: &str) -> Run {
    host.berth(words)
        .env("BERTH_DOCKER_REPO", &repository.address)
        .env("BERTH_DOCKER_REPO_KEY", &repository.fingerprint)
        .deadline(INSTALL)
}

fn a_bundle_is_made(host: &Host) -> std::path::PathBuf {
    let Out { stdout, took, .. } = host
        .berth("engine bundle --from dock --engine docker -o docker.tar")
        .deadline(INSTALL)
        .ok();
    println!("bundled in {took:.1?}");
    let path = host.scratch().join(stdout.trim());
    let listed = host.shell("tar -tf docker.tar").text();
    for file in [
        "berth-bundle.json",
        "docker.io_26.1.5",
        "containerd_1",
        "runc_",
    ] {
        assert!(listed.contains(file), "{listed}");
    }
    // Who makes a bundle keeps what he has.
    no_engine(host);
    path
}

fn a_wrong_key_is_refused(host: &Host, repository: &Repository) {
    let before = host
        .inside(NAME, "ls /etc/apt/keyrings /etc/apt/sources.list.d")
        .run();
    let install = "provision dock --engine docker@27.0 --channel upstream";
    host.berth(install)
        .env("BERTH_DOCKER_REPO", &repository.address)
        .deadline(INSTALL)
        .exits(1)
        .says("is not to be trusted: its fingerprint is")
        .says("hint: nothing was installed");
    let after = host
        .inside(NAME, "ls /etc/apt/keyrings /etc/apt/sources.list.d")
        .run();
    assert_eq!(before.stdout, after.stdout);
}

fn a_changed_package_is_not_installed(host: &Host, repository: &Repository) {
    let install = "provision dock --engine docker@27.0 --channel upstream";
    // A mirror in the middle of its own update looks the same: berth tries for minutes.
    for changed in ["Packages", "docker-ce_27.0.3"] {
        let undo = repository.change(changed);
        let out = told_of(host, repository, install)
            .deadline(Duration::from_secs(40))
            .exits(124);
        assert!(
            out.stderr.contains("the mirror is being updated"),
            "{}",
            out.stderr
        );
        undo();
        no_engine(host);
    }
}

fn no_engine(host: &Host) {
    assert_eq!(host.inside(NAME, "command -v dockerd").run().stdout, "");
}

fn a_version_is_held(host: &Host, repository: &Repository) {
    let install = "provision dock --timings --engine docker@27.0 --channel upstream";
    let out = told_of(host, repository, install).ok();
    println!("installed from upstream: {}", out.stderr);
    let versions = versions(host, repository);
    assert_eq!(installed(&versions)["package"], "docker-ce");
    assert_eq!(
        installed(&versions)["version"],
        "5:27.0.3-1~debian.13~trixie"
    );
    assert_eq!(installed(&versions)["held"], true);
    let offers = versions["offers"].as_array().unwrap();
    let upstream = offers
        .iter()
        .find(|offer| offer["channel"] == "upstream")
        .unwrap();
    assert_eq!(
        upstream["versions"],
        serde_json::json!([
            "5:28.0.0-1~debian.13~trixie",
            "5:27.0.3-1~debian.13~trixie",
            "5:27.0.1-1~debian.13~trixie"
        ])
    );
    // An upgrade of everything else leaves it.
    let upgraded = host.inside(NAME, "apt-get -s dist-upgrade").text();
    assert!(!upgraded.contains("Inst docker-ce "), "{upgraded}");
    let again = told_of(host, repository, "provision dock").ok();
    assert!(again.took < Duration::from_secs(20), "{:?}", again.took);
}

fn a_bundle_needs_no_network(host: &Host) {
    let out = host
        .berth("provision dock --timings --engine docker@26.1 --channel bundle:docker.tar")
        .deadline(INSTALL)
        .ok();
    println!("installed from a bundle: {}", out.stderr);
    assert_eq!(host.row(NAME)["engine"]["version"], "26.1.5+dfsg1");
    let packages = host
        .inside(
            NAME,
            "dpkg-query -W -f '${Package} ${db:Status-Status}\n' 'docker*'",
        )
        .text();
    assert!(packages.contains("docker.io installed"), "{packages}");
    assert!(!packages.contains("docker-ce installed"), "{packages}");
    let held = host.inside(NAME, "apt-mark showhold").text();
    assert!(held.contains("docker.io"), "{held}");
    host.berth("provision dock --engine docker@28 --channel bundle:docker.tar")
        .deadline(INSTALL)
        .exits(1)
        .says("is not offered version 28 of docker");
    host.berth("provision dock --engine docker@26.1")
        .deadline(INSTALL)
        .ok();
}

/// What a rollback needs: the packages as they are, though the machine reaches no mirror.
fn kept_files_bring_an_engine_back(host: &Host) {
    let family = debian();
    let as_root = |script: &str| host.inside(NAME, script).deadline(INSTALL).ok();
    as_root("apt-get clean; echo '# mine' >>/etc/default/docker");
    let kept = as_root(&family.keep_files_script(Kind::Docker, "/var/tmp/kept"));
    println!("kept in {:.1?}", kept.took);
    let files = as_root("ls /var/tmp/kept").stdout;
    for package in [
        "docker.io_26",
        "docker-cli_26",
        "containerd_1",
        "runc_1",
        "tini_",
    ] {
        assert!(files.contains(package), "{files}");
    }
    as_root(
        "apt-get -y --allow-change-held-packages purge docker.io docker-cli containerd runc tini",
    );
    no_engine(host);
    let back = as_root(&family.install_files_script("/var/tmp/kept"));
    println!("back in {:.1?}", back.took);
    as_root(
        "dpkg -V docker.io containerd runc | grep -v /etc/default/docker; \
             grep -x '# mine' /etc/default/docker",
    );
    host.docker("--context dock version").ok();
}

fn a_static_release_takes_over(host: &Host) {
    host.shell(
        "mkdir -p release/docker && for p in docker.io docker-cli containerd runc tini; do \
         dpkg-deb -x packages/${p}_*.deb release/x; done; cd release; \
         cp x/usr/sbin/docker* x/usr/bin/* docker/; \
         tar -cf - docker | gzip -1 >../docker-26.1.5.tgz",
    )
    .ok();
    host.berth("provision dock --engine docker --channel bundle:docker-26.1.5.tgz")
        .deadline(INSTALL)
        .ok();
    assert_eq!(program(host), "/usr/local/bin/dockerd");
    host.docker("--context dock version").ok();
    let begun = Instant::now();
    upgrades::between_releases(host);
    println!("upgraded between releases in {:.1?}", begun.elapsed());
    // And packages again.
    host.berth("provision dock --engine docker --channel bundle:docker.tar")
        .deadline(INSTALL)
        .ok();
    assert_eq!(program(host), "/usr/sbin/dockerd");
}

/// What docker runs from.
fn program(host: &Host) -> String {
    let line = "readlink /proc/$(systemctl show -P MainPID docker)/exe";
    host.inside(NAME, line).text()
}

fn versions(host: &Host, repository: &Repository) -> Value {
    let out = told_of(host, repository, "engine versions dock --json").ok();
    serde_json::from_str(&out.stdout).unwrap()
}

fn installed(versions: &Value) -> &Value {
    &versions["installed"][0]
}

fn debian() -> &'static dyn Family {
    family::of(&Os::parse(b"ID=debian"), NAME).unwrap()
}

/// Podman speaks docker's language on the same socket; whoever is not root gets one of their own.
fn podman_answers(host: &Host) {
    let out = host
        .berth("provision dock --timings --engine podman")
        .deadline(INSTALL)
        .ok();
    println!("podman: {}", out.stderr);
    assert_eq!(host.row(NAME)["engine"]["kind"], "podman");
    let told = host.docker("--context dock version").ok().stdout;
    assert!(told.contains("Podman Engine"), "{told}");
    let again = host.berth("provision dock").ok();
    assert!(again.took < Duration::from_secs(20), "{:?}", again.took);
}

fn a_users_own_podman_answers(host: &Host) {
    let row = host.row(NAME);
    host.inside(
        NAME,
        "apt-get -qy install sudo >/dev/null && useradd -m -s /bin/bash sailor && \
         echo 'sailor ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/sailor && \
         install -d -o sailor -m 0700 ~sailor/.ssh && \
         cat /root/.ssh/authorized_keys /run/credentials/*/ssh.authorized_keys.root 2>/dev/null >~sailor/.ssh/authorized_keys; \
         chown sailor ~sailor/.ssh/authorized_keys",
    )
    .deadline(INSTALL)
    .ok();
    let target = Target {
        host: row["ssh"]["host"].as_str().unwrap().into(),
        port: row["ssh"]["port"].as_u64().unwrap().try_into().unwrap(),
        user: "sailor".into(),
        key: Key::File(host.machine(NAME).join("id_ed25519")),
        known_hosts: host.machine(NAME).join("known_hosts"),
        host_key_alias: Some(format!("{NAME}.berth")),
        jump: Vec::new(),
    };
    let wanted = Wanted {
        engine: Kind::Podman,
        ..Wanted::default()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = runtime.block_on(async {
        let session = Session::connect(&target, vm::ANSWER).await.unwrap();
        let installed = provision(&session, &wanted, &Silent, &|_| {})
            .await
            .unwrap();
        let again = provision(&session, &wanted, &Silent, &|step| {
            assert_eq!(step, "Checking the engine");
        });
        assert_eq!(again.await.unwrap(), installed);
        session.disconnect().await;
        installed.engine.unwrap()
    });
    let uid = host.inside(NAME, "id -u sailor").text();
    assert_eq!(engine.socket, format!("/run/user/{uid}/podman/podman.sock"));
    let root = host.inside(
        NAME,
        "sudo -iu sailor podman info -f '{{.Host.Security.Rootless}}'",
    );
    assert_eq!(root.text(), "true");
}
