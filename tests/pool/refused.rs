//! What cannot be said of a pool, nor of the machines that wait in one.

use snapbox::{assert_data_eq, str};

use crate::support::World;

#[test]
fn what_makes_no_sense_is_refused() {
    let world = World::new();
    let mut told = String::new();
    let mut ask = |args: &[&str]| {
        let ran = world.berth(args);
        told += &format!("$ berth {}\n{}\n", args.join(" "), ran.told());
    };
    for more in [
        &["Ci", "--ready", "1"][..],
        &["../x", "--ready", "1"],
        &["ci", "--ready", "65"],
        &["ci", "--ready", "-1"],
        &["ci"],
        &["ci", "--ready", "1", "-l", "a=b"],
        &["ci", "--ready", "1", "--ttl", "1h"],
        &["ci", "--ready", "1", "--cold"],
        &["ci", "--ready", "1", "--tls"],
        &["ci", "--ready", "1", "--cpus", "0"],
        &["ci", "--ready", "1", "--image", "nope"],
        &["ci", "--ready", "1", "--engine", "lxc"],
        &["ci", "--ready", "1", "-o", "nope=1"],
        &["ci", "--ready", "1", "-d", "nope"],
        &["ci", "--ready", "1", "-d", "ssh"],
    ] {
        let driver = ["-d", "sshd"];
        let driver = if more.contains(&"-d") {
            &[][..]
        } else {
            &driver[..]
        };
        ask(&[&["pool", "set"], driver, more].concat());
    }
    ask(&["pool", "rm", "ci"]);
    ask(&["pool", "rm", "../x"]);
    ask(&["create", "wt--ci-000001"]);
    ask(&["ssh", "wt--ci-000001"]);
    ask(&["ls", "--waiting", "-l", "a=b"]);
    assert_data_eq!(
        told,
        str![[r#"
$ berth pool set -d sshd Ci --ready 1
exit 2
berth: pool "Ci": a pool's name has 1 to 40 lower-case letters a-z, digits and hyphens, and no hyphen at its ends

$ berth pool set -d sshd ../x --ready 1
exit 2
berth: pool "../x": a pool's name has 1 to 40 lower-case letters a-z, digits and hyphens, and no hyphen at its ends

$ berth pool set -d sshd ci --ready 65
exit 2
berth: --ready: at most 64 machines wait in a pool

$ berth pool set -d sshd ci --ready -1
exit 2
error: unexpected argument '-1' found

  tip: to pass '-1' as a value, use '-- -1'

Usage: berth pool set [OPTIONS] --ready <N> <POOL>

For more information, try '--help'.

$ berth pool set -d sshd ci
exit 2
error: the following required arguments were not provided:
  --ready <N>

Usage: berth pool set --ready <N> --driver <DRIVER> <POOL>

For more information, try '--help'.

$ berth pool set -d sshd ci --ready 1 -l a=b
exit 2
berth: --label: is said to `berth create`, of the machine that it takes

$ berth pool set -d sshd ci --ready 1 --ttl 1h
exit 2
berth: --ttl, --ephemeral: is said to `berth create`, of the machine that it takes

$ berth pool set -d sshd ci --ready 1 --cold
exit 2
berth: --cold: is said to `berth create`, which then takes none

$ berth pool set -d sshd ci --ready 1 --tls
exit 2
berth: --tls: is a machine's own from its first moment on: such machines are not taken from pools

$ berth pool set -d sshd ci --ready 1 --cpus 0
exit 2
berth: --cpus: a machine has at least one

$ berth pool set -d sshd ci --ready 1 --image nope
exit 3
berth: there is no image nope
hint: `berth image ls` lists them

$ berth pool set -d sshd ci --ready 1 --engine lxc
exit 2
berth: --engine: "lxc" is not an engine: docker, podman, none

$ berth pool set -d sshd ci --ready 1 -o nope=1
exit 2
berth: machine ci: the sshd driver has no option "nope"
hint: it has: mute, stubborn, frail, jump

$ berth pool set ci --ready 1 -d nope
exit 3
berth: there is no driver nope
hint: there are: qemu, uml, virtualbox, ssh, sshd

$ berth pool set ci --ready 1 -d ssh
exit 2
berth: --driver: ssh makes no machines: it adopts computers

$ berth pool rm ci
exit 3
berth: there is no pool ci
hint: there are none: `berth pool set` makes one

$ berth pool rm ../x
exit 3
berth: there is no pool ../x
hint: there are none: `berth pool set` makes one

$ berth create wt--ci-000001
exit 2
berth: "wt--ci-000001" cannot be a machine's name: machines that wait in pools have names with wt--

$ berth ssh wt--ci-000001
exit 3
berth: there is no machine wt--ci-000001
hint: there are no machines yet: `berth up` makes one

$ berth ls --waiting -l a=b
exit 2
berth: --waiting lists all machines that wait, and only those


"#]]
    );
    assert!(!world.data().join("pools").exists());
}
