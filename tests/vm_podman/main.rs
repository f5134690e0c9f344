//! Podman as the engine: docker's client and podman's own use it, on every kind of machine.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod upgrades;

#[path = "../vm/mod.rs"]
mod vm;

use std::fs;
use std::time::Duration;

use vm::{
    ANSWER, Host, Story, build_busybox, compose, eventually, http_get, image, short_docker_list,
    tell,
};

/// Packages are unpacked by an emulated guest.
const INSTALL: Duration = Duration::from_secs(900);

#[test]
#[ignore = "boots a VM; cargo xtask test runs it"]
fn both_clients_use_podman_in_a_virtual_machine() {
    both_clients_use_podman(Host::with("qemu"), &[]);
}

#[test]
#[ignore = "boots a VM; cargo xtask test runs it"]
fn both_clients_use_podman_where_the_kernel_translates_no_addresses() {
    let more: Story = ("it goes up and down", upgrades::goes_up_and_down);
    both_clients_use_podman(Host::with("uml"), &[more]);
}

fn both_clients_use_podman(host: Host, more: &[Story]) {
    host.berth("create pod1 --engine podman --memory 1G --image")
        .arg(image("debian-13"))
        .deadline(INSTALL)
        .ok();
    host.berth("use pod1").ok();
    let stories: [Story; 3] = [
        ("podman's own client", podmans_client),
        ("docker's client", dockers_client),
        ("docker compose", dockers_compose),
    ];
    tell(&host, &[&stories, more].concat());
    host.finish();
}

fn podmans_client(host: &Host) {
    let podman = |line: &str| host.run("podman", &format!("--connection pod1 {line}"));
    let told = podman("version --format {{.Server.Version}}").text();
    assert_eq!(host.row("pod1")["engine"]["version"], *told);
    let folder = host.scratch().join("pb");
    fs::create_dir_all(&folder).unwrap();
    fs::copy("/bin/busybox", folder.join("busybox")).unwrap();
    let file = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";
    fs::write(folder.join("Containerfile"), file).unwrap();
    podman("build --tag pb pb").ok();
    assert_eq!(podman("run --rm pb echo hi").text(), "hi");
    podman("run --detach --name web --publish 18080:80 pb sh -c")
        .arg("mkdir /www; echo hello > /www/index.html; echo begun; exec httpd -f -p 80 -h /www")
        .ok();
    let body = eventually("the published port answers", ANSWER, || http_get(18080));
    assert_eq!(body, "hello\n");
    assert_eq!(podman("exec web cat /www/index.html").text(), "hello");
    assert_eq!(podman("logs web").text(), "begun");
    podman("rm --force --time 0 web").ok();
}

fn dockers_client(host: &Host) {
    short_docker_list(host, "pod1", 18081);
    host.docker("run --detach --name talker bbox sh -c")
        .arg("echo told; exec sleep 1000")
        .ok();
    assert_eq!(
        host.docker("exec talker echo from within").text(),
        "from within"
    );
    assert_eq!(host.docker("logs talker").text(), "told");
    host.docker("rm --force talker").ok();
}

fn dockers_compose(host: &Host) {
    build_busybox(host);
    compose(host);
}
