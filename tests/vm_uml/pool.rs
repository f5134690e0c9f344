//! Machines that wait in a pool, booted, and are taken.

use crate::vm::{ANSWER, BOOT, Host, assert_nothing_left, eventually, image};

/// What no two machines have in common, and how it is asked for.
const OWN: &[&str] = &[
    "cat /etc/ssh/ssh_host_ed25519_key.pub | cut -d ' ' -f 2",
    "cat /etc/machine-id",
    "cat /proc/sys/kernel/hostname",
    "cat /etc/hostname",
];

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn machines_of_a_pool_are_taken_and_are_machines_of_their_own() {
    let host = Host::with("uml");
    let like = format!("--memory 512M --image {}", image("debian-13-docker"));
    host.berth(&format!("pool set ci --ready 2 --wait {like}"))
        .deadline(BOOT)
        .ok();
    assert_eq!(host.berth("ls -q").text(), "");
    let waiting = host.berth("ls --waiting --format {{.State}}").text();
    assert_eq!(waiting, "running\nrunning");
    let cost = host.berth("pool ls --format {{.IdleMemory}}").text();
    // More than the engine alone, and not more than they have.
    let cost: u64 = cost.parse().unwrap();
    assert!((100 << 20..1200 << 20).contains(&cost), "{cost}");

    let made = host.berth(&format!("create web1 web2 {like}")).ok();
    assert_eq!(
        made.stderr.matches("of pool ci").count(),
        2,
        "{}",
        made.stderr
    );
    // Whoever fills it again is told to leave.
    host.berth("pool rm ci").ok();
    for name in ["web1", "web2"] {
        let docker = |line: &str| host.docker(&format!("--context {name} {line}"));
        assert_eq!(
            docker("version --format {{.Server.Version}}").text(),
            "26.1.5+dfsg1"
        );
        assert_eq!(docker("info --format {{.Name}}").text(), name);
        assert_eq!(host.inside(name, "cat /etc/hostname").text(), name);
    }
    for own in OWN {
        let of = |name: &str| host.inside(name, own).text();
        assert_ne!(of("web1"), of("web2"), "{own}");
    }
    let engine = |name: &str| host.docker(&format!("--context {name} info --format {{{{.ID}}}}"));
    assert_ne!(engine("web1").text(), engine("web2").text());
    // Its name is its own after a boot, too.
    host.berth("restart web1").deadline(BOOT).ok();
    eventually("the guest's name", ANSWER, || {
        let name = host.docker("--context web1 info --format {{.Name}}").text();
        (name == "web1").then_some(())
    });
    host.berth("rm --yes --all").ok();
    assert_nothing_left(&host);
}
