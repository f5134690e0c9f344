//! Machines that share a network.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::vm::{ANSWER, BOOT, Host, assert_nothing_left, build_busybox, eventually, image};

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn machines_of_a_group_reach_each_other_and_nobody_else_does() {
    let host = Host::with("uml");
    let create = |names: &str, group: &str| {
        host.berth(&format!("create {names} --memory 512M"))
            .args(["--option", &format!("network={group}")])
            .args(["--image", &image("debian-13-docker")])
            .deadline(BOOT)
            .ok();
    };
    create("web1 web2", "shared:web");
    create("alone", "shared");

    let address = |name: &str| host.berth(&format!("ip {name}")).text();
    assert_ne!(address("web1"), address("web2"));
    host.berth("use web2").ok();
    build_busybox(&host);
    host.docker("save --output bbox.tar bbox").ok();
    host.docker("run --detach --publish 8099:80 bbox httpd -f -p 80 -h /bin")
        .ok();
    host.docker("--context web1 load --quiet --input bbox.tar")
        .ok();
    host.docker("--context alone load --quiet --input bbox.tar")
        .ok();

    // From a container of one machine to a published port of the other.
    let fetch = format!(
        "run --rm bbox timeout 5 wget -q -O /dev/null http://{}:8099/busybox",
        address("web2")
    );
    let answers = |from: &str| host.docker(&format!("--context {from} {fetch}")).run().code == 0;
    assert!(answers("web1"));
    assert!(!answers("alone"), "another group's machine is reached");
    let greeting = |of: &str| {
        let ask = format!("bash -c 'exec 3<>/dev/tcp/{of}/22; head -n 1 <&3'");
        host.inside("web1", &ask).ok().stdout
    };
    assert!(greeting(&address("web2")).starts_with("SSH-2.0"));

    // The switch dies, and a supervisor puts another one in its place.
    let pid_file = host.berth_home().join("networks/web/switch.pid");
    let switch = || {
        std::fs::read_to_string(&pid_file)
            .ok()?
            .trim()
            .parse::<i32>()
            .ok()
    };
    let before = switch().unwrap();
    kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
    eventually("another switch", ANSWER, || {
        switch().filter(|pid| *pid != before)
    });
    eventually("an answer", ANSWER, || answers("web1").then_some(()));

    // A machine keeps its address.
    let kept = address("web2");
    host.berth("restart web2").deadline(BOOT).ok();
    assert_eq!(address("web2"), kept);
    assert!(greeting(&kept).starts_with("SSH-2.0"));

    host.berth("rm --yes --all").deadline(ANSWER).ok();
    assert_nothing_left(&host);
}
