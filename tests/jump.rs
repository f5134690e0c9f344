//! Machines that are reached over other hosts: the user's own ssh leads there, berth's pins hold at the end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use snapbox::{assert_data_eq, str};
use support::{World, engine, eventually};

/// Two gates, which the user's ssh knows by the names `one` and `two`.
fn gates(world: &World) {
    world.create(&["gate1", "gate2"]).ok();
    let mut config = String::new();
    for (alias, gate) in [("one", "gate1"), ("two", "gate2")] {
        let ssh = world.row(gate)["ssh"].clone();
        let host_key = fs::read_to_string(world.file(gate, "known_hosts")).unwrap();
        let (_, host_key) = host_key.split_once(' ').unwrap();
        let known = format!("[127.0.0.1]:{} {host_key}", ssh["port"]);
        fs::write(world.path(format!("known-{alias}")), known).unwrap();
        config += &format!(
            "Host {alias}\n HostName 127.0.0.1\n Port {}\n IdentityFile {}\n IdentitiesOnly yes\n UserKnownHostsFile {}\n",
            ssh["port"],
            world.file(gate, "id_ed25519").display(),
            world.path(format!("known-{alias}")).display(),
        );
    }
    fs::write(world.path("home/ssh_config"), config).unwrap();
    // ssh looks into the folder that the system names as the user's home, whatever HOME is.
    let own = format!(
        "#!/bin/sh\nfor arg; do case $arg in -F) exec /usr/bin/ssh \"$@\";; esac; done\n\
         exec /usr/bin/ssh -F {} \"$@\"\n",
        world.path("home/ssh_config").display()
    );
    fs::write(world.path("bin/ssh"), own).unwrap();
    fs::set_permissions(world.path("bin/ssh"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// How many connections a machine's sshd has let in.
fn logins(world: &World, gate: &str) -> usize {
    let log = fs::read_to_string(world.file(gate, "vm/console.log")).unwrap();
    log.matches("Accepted publickey").count()
}

#[test]
fn everything_goes_over_the_gates() {
    let world = World::new();
    gates(&world);
    world.create(&["inner", "-o", "jump=one,two"]).ok();
    let created = (logins(&world, "gate1"), logins(&world, "gate2"));
    assert!(created.0 > 0 && created.1 > 0, "{created:?}");

    let ran = world.berth(&["ssh", "inner", "--", "echo inside"]).ok();
    assert_eq!(ran.stdout, "inside\n");
    fs::write(world.path("file"), "carried").unwrap();
    world.berth(&["cp", "file", "inner:carried"]).ok();
    let carried = world.berth(&["ssh", "inner", "--", "cat carried"]).ok();
    assert_eq!(carried.stdout, "carried");
    let each = (logins(&world, "gate1"), logins(&world, "gate2"));
    assert!(
        each.0 >= created.0 + 3 && each.1 >= created.1 + 3,
        "{each:?}"
    );

    // The endpoint too; and it comes back when a gate does.
    let _engine = engine::install(&world, "inner");
    world.berth(&["start", "inner"]).ok();
    assert_eq!(engine::ping(&world, "inner"), "OK");
    world.berth(&["kill", "gate2"]).ok();
    eventually("the loss is noticed", || {
        world.supervisor("inner")["connected"] == false
    });
    world.berth(&["start", "gate2"]).ok();
    eventually("the connection is back", || {
        world.supervisor("inner")["connected"] == true
    });
    assert_eq!(engine::ping(&world, "inner"), "OK");
}

#[test]
fn a_gate_that_is_not_known_lets_nobody_through() {
    let world = World::new();
    gates(&world);
    fs::write(world.path("known-one"), "").unwrap();
    let ran = world.create(&["inner", "-o", "jump=one"]).code(1);
    assert_data_eq!(
        ran.told(),
        str![[r#"
exit 1
TIME inner: Importing the disk image
TIME inner: Storing the image
TIME inner: Creating the machine
TIME inner: a machine of processes only
TIME inner: Starting
TIME inner: Starting sshd
TIME inner: Booting
TIME inner: Connecting
berth: machine inner: the way over one is closed: Host key verification failed.
hint: the way is that of your own ssh: `ssh HOST true` to the last host there must work without a question

"#]]
    );
    let ran = world
        .create(&["inner2", "-o", "jump=-oProxyCommand=id"])
        .code(1);
    assert_data_eq!(
        ran.told(),
        str![[r#"
exit 1
TIME inner2: Importing the disk image
TIME inner2: Storing the image
TIME inner2: Creating the machine
TIME inner2: a machine of processes only
TIME inner2: Starting
TIME inner2: Starting sshd
TIME inner2: Booting
TIME inner2: Connecting
berth: machine inner2: "-oProxyCommand=id" is not a jump host of the form [user@]host[:port]
hint: `berth provision inner2` tries again, `berth create --resume inner2` finishes a create

"#]]
    );
}
