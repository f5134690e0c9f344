//! Podman goes up and down between Debian 13's version and the one of Debian's unstable suite while a container counts
//! that podman's own service would stop and start with itself.

use std::time::Duration;

use crate::vm::{Host, Run, begin_counting, build_busybox, offer_unstable, still_counts};

const UPGRADE: Duration = Duration::from_secs(900);

/// The two versions, by what they begin with.
const OLD: &str = "5.4";
const NEW: &str = "5.8";

const PACKAGES: &str = "dpkg-query -W podman conmon crun netavark aardvark-dns; apt-mark showhold; \
     systemctl is-active podman-restart.service; systemctl show -P ExecStop podman-restart.service | grep -o 'stop .* ;'";

pub fn goes_up_and_down(host: &Host) {
    build_busybox(host);
    offer_unstable(host, "pod1");
    host.inside("pod1", "systemctl enable -q --now podman-restart.service")
        .ok();
    begin_counting(host, "--restart always");

    // Its libraries are to be had of the unstable suite only.
    upgrade(host, "--to").arg(NEW).ok();
    assert!(version(host).starts_with(NEW));
    still_counts(host);
    let before = packages(host);
    assert!(before.contains("\npodman\nactive\nstop "), "{before}");

    let gate = "docker ps --quiet | grep -q . && echo no good >&2; exit 3";
    let out = upgrade(host, "--gate").args([gate, "--to", OLD]).exits(1);
    out.says("the gate says no: no good")
        .says("again, since the upgrade");
    assert_eq!(packages(host), before);
    still_counts(host);

    upgrade(host, "--to")
        .arg(OLD)
        .env("BERTH_DIE_AT", "upgrade:upgrade: Starting the engine:begin")
        .exits(137);
    upgrade(host, "--rollback").ok();
    assert_eq!(packages(host), before);
    still_counts(host);
    host.docker("rm --force counter").ok();
}

fn upgrade(host: &Host, arguments: &str) -> Run {
    host.berth(&format!("upgrade pod1 {arguments}"))
        .deadline(UPGRADE)
}

fn version(host: &Host) -> String {
    let row = host.row("pod1");
    row["engine"]["version"].as_str().unwrap().to_owned()
}

fn packages(host: &Host) -> String {
    host.inside("pod1", PACKAGES).ok().stdout
}
