//! Nothing is left: ports, rights, disk.

use std::net::TcpListener;

use snapbox::{assert_data_eq, str};

use crate::support::{BERTH, Ran, World};
use crate::world;

#[test]
fn no_port_is_left() {
    let world = world();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let args = world.create_args(&["web2"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let with_ports = |ports: &str| world.finish(world.command(&args).env("BERTH_PORTS", ports));
    let told = with_ports(&format!("{port}-{port}")).code(1).told();
    let told = told.replace(&port.to_string(), "PORT");
    assert_data_eq!(
        told,
        str![[r#"
exit 1
TIME web2: Importing the disk image
TIME web2: Storing the image
TIME web2: Creating the machine
TIME web2: a machine of processes only
berth: machine web2: no free port is left between PORT and PORT on 127.0.0.1
hint: remove machines you no longer need, or set BERTH_PORTS=FIRST-LAST to a wider range

"#]]
    );
    // With a free one it goes on where it was.
    assert_eq!(world.state("web2"), "creating");
    world.berth(&["create", "--resume", "web2"]).ok();
    world.berth(&["rm", "-y", "web2"]).ok();
    for nonsense in ["x", "5-1", "0-10", "1-70000"] {
        with_ports(nonsense).says("is not a range of ports");
        world.berth(&["rm", "-f", "web2"]).ok();
    }
}

/// Runs a script in a mount namespace of its own, where the home can be what it cannot be elsewhere.
fn apart(world: &World, script: &str) -> Ran {
    let script = format!("set -eu; berth() {{ {} \"$@\"; }}\n{script}", BERTH);
    world.finish(world.program("unshare").args(["-m", "sh", "-c", &script]))
}

#[test]
fn a_home_that_is_read_only() {
    let world = world();
    let before = world.snapshot();
    let image = world.image();
    let ran = apart(
        &world,
        &format!(
            "mount --bind b b; mount -o remount,ro,bind b\n\
             berth ls --format '{{{{.Name}}}} {{{{.State}}}}'; berth ssh web1 -- echo reached\n\
             for args in 'create web2 -d sshd --engine none --image {image}' 'stop web1' 'rm -y web1'; do\n\
             berth $args || echo \"exit $?\" >&2; done"
        ),
    )
    .ok();
    assert_eq!(ran.stdout, "web1 running\nreached\n");
    assert_data_eq!(
        ran.told(),
        str![[r#"
exit 0
berth: WORLD/b/locks/web2: Read-only file system (os error 30)
hint: set BERTH_HOME to a folder that can be written
exit 1
berth: WORLD/b/locks/web1: Read-only file system (os error 30)
hint: set BERTH_HOME to a folder that can be written
exit 1
berth: WORLD/b/locks/web1: Read-only file system (os error 30)
hint: set BERTH_HOME to a folder that can be written
exit 1

"#]]
    );
    world.is_as_it_was(&before, "read-only");
    assert_eq!(world.state("web1"), "running");
}

#[test]
fn a_disk_that_is_full() {
    let world = World::new();
    let image = world.image();
    let ran = apart(
        &world,
        &format!(
            "mkdir b; mount -t tmpfs -o size=256k,mode=700 none b\n\
             berth() {{ {} --quiet-progress \"$@\" || echo \"exit $?\" >&2; }}\n\
             full() {{ dd if=/dev/zero of=b/fill bs=4k 2>/dev/null || true; }}\n\
             create='berth create -d sshd --engine none --memory 64M --image {image}'\n\
             $create m1; full; $create m2; berth start m1; berth stop m1\n\
             berth ls --format '{{{{.Name}}}} {{{{.State}}}} {{{{.Error}}}}'\n\
             rm b/fill; berth start m1; full; berth rm -y m1\n\
             find b/machines b/locks b/ports -mindepth 1",
            BERTH
        ),
    );
    assert_data_eq!(
        format!("{}{}", ran.printed(), ran.told()),
        str![[r#"
m1
m1
m1 stopped
m1
m1
exit 0
berth: WORLD/b/locks/m2: No space left on device (os error 28)
hint: free some space on that disk; nothing was half-written
exit 1
berth: WORLD/b/machines/m1/ssh_config: No space left on device (os error 28) at path "WORLD/b/machines/m1/.berth-DRAFT"
hint: free some space on that disk; nothing was half-written
exit 1

"#]]
    );
}
