//! Images without an engine: it is installed over SSH from Debian's packages, in two Debian releases at once.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod vm;

use std::time::Duration;

use vm::{Host, Out, image, short_docker_list};

/// An emulated guest fetches and unpacks 300 MB, and another one does so beside it.
const INSTALL: Duration = Duration::from_secs(1800);

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn an_engine_is_installed_in_bare_machines() {
    let host = Host::with("uml");
    std::thread::scope(|scope| {
        for (name, reference) in [("trixie", "debian-13"), ("bookworm", "debian-12")] {
            let host = &host;
            scope.spawn(move || {
                let made = host
                    .berth("create --disk 24G --timeout 900 --timings --image")
                    .args([image(reference), name.into()])
                    .deadline(INSTALL)
                    .ok();
                println!("{name}:\n{}", made.stderr);
            });
        }
    });
    assert_eq!(host.row("trixie")["engine"]["version"], "26.1.5+dfsg1");
    assert_eq!(host.row("bookworm")["engine"]["version"], "20.10.24+dfsg1");
    for (name, os, port) in [("trixie", "13", 17_831), ("bookworm", "12", 17_832)] {
        let release = host.inside(name, "cat /etc/os-release").ok().stdout;
        assert!(
            release.contains(&format!("VERSION_ID=\"{os}\"")),
            "{release}"
        );
        short_docker_list(&host, name, port);
        the_disk_has_grown(&host, name);
        provisioning_again_changes_nothing(&host, name);
    }
    host.finish();
}

fn the_disk_has_grown(host: &Host, name: &str) {
    assert_eq!(host.row(name)["disk"], 24u64 << 30);
    let size: u64 = host
        .inside(name, "df --output=size --block-size=1 / | tail -1")
        .text()
        .parse()
        .unwrap();
    assert!(size > 22 << 30, "{size}");
}

fn provisioning_again_changes_nothing(host: &Host, name: &str) {
    let look = "stat -c %Y%i /etc/docker/daemon.json; stat -c %Y /var/lib/dpkg/status; \
                systemctl show docker --property MainPID,ActiveEnterTimestamp";
    let before = host.inside(name, look).text();
    let Out { took, .. } = host.berth("provision").arg(name).ok();
    println!("{name}: provisioned again in {took:.1?}");
    assert_eq!(host.inside(name, look).text(), before);
    assert!(took < Duration::from_secs(60), "{took:?}");
}
