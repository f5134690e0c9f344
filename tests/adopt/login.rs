//! What lets berth in: the user's configuration of ssh, an agent, a key of berth's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use snapbox::{assert_data_eq, str};

use crate::support::host::{Host, user_config};
use crate::support::{World, eventually};

#[test]
fn the_users_ssh_configuration_counts() {
    let world = World::new();
    let host = Host::start(&world, "h", "");
    let config = format!(
        "Host build\n HostName 127.0.0.1\n Port {}\n IdentityFile {}\n UserKnownHostsFile /dev/null\n",
        host.port,
        host.path("user_key").display()
    );
    user_config(&world, &config);
    let adopted = [
        "create",
        "b1",
        "-d",
        "ssh",
        "--engine",
        "none",
        "-o",
        "host=build",
    ];
    world.berth(&adopted).ok();
    // Resolved once, and kept.
    user_config(&world, "Host *\n Port 1\n");
    world.berth(&["ssh", "b1", "--", "true"]).ok();
    assert_eq!(world.row("b1")["ssh"]["port"], host.port);
}

/// An SSH agent with one key, and its socket.
fn agent(world: &World, key: &std::path::Path) -> (Child, String) {
    let socket = world.path("agent");
    let agent = Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the agent listens", || socket.exists());
    let added = Command::new("ssh-add")
        .arg("-q")
        .arg(key)
        .env("SSH_AUTH_SOCK", &socket)
        .status();
    assert!(added.unwrap().success());
    (agent, socket.display().to_string())
}

#[test]
fn the_agent_lets_in_and_berths_own_key_may_take_over() {
    let world = World::new();
    let host = Host::start(&world, "h", "");
    let (mut agent, socket) = agent(&world, &host.path("user_key"));
    let port = format!("port={}", host.port);
    let create = |name: &str, more: &[&str]| {
        let mut args = vec![
            "create",
            name,
            "-d",
            "ssh",
            "--engine",
            "none",
            "-o",
            "host=127.0.0.1",
        ];
        args.extend(["-o", &port]);
        args.extend(more);
        world.finish(world.command(&args).env("SSH_AUTH_SOCK", &socket))
    };
    create("a1", &["-o", "key=agent"]).ok();
    let ssh = |name: &str| world.command(&["ssh", name, "--", "true"]);
    world.finish(ssh("a1").env("SSH_AUTH_SOCK", &socket)).ok();

    let keys = || fs::read_to_string(host.path("home/.ssh/authorized_keys")).unwrap();
    let before = keys();
    create("a2", &["-o", "install-key=true"])
        .ok()
        .says("berth's own key");
    let with_ours = keys();
    assert_eq!(
        with_ours.lines().count(),
        before.lines().count() + 1,
        "{with_ours}"
    );
    agent.kill().unwrap();
    agent.wait().unwrap();
    // The one has lost what let it in, the other does without.
    world.berth(&["ssh", "a1", "--", "true"]).code(255);
    world.berth(&["ssh", "a2", "--", "true"]).ok();
    let mode = fs::metadata(world.file("a2", "id_ed25519"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    world
        .berth(&["rm", "-y", "a2"])
        .ok()
        .says("no longer lets berth's key in");
    assert_eq!(keys().trim(), before.trim());

    let ran = create("a3", &["-o", "key=agent"]).code(1);
    assert_data_eq!(
        ran.told().replace(&host.fingerprint(), "FINGERPRINT"),
        str![[r#"
exit 1
TIME a3: Creating the machine
TIME a3: 127.0.0.1 is root@127.0.0.1 port PORT
TIME a3: Meeting the host
TIME a3: a3 shows the host key ssh-ed25519 FINGERPRINT, which is accepted from now on; to be sure, compare it with `ssh-keygen -lf` of its /etc/ssh/ssh_host_*_key.pub
TIME a3: Connecting
berth: machine a3: the SSH agent cannot be used: Connection refused (os error 111)
hint: `ssh-add FILE` gives a key to a running agent; then `berth create --resume a3`, or `berth rm a3` and adopt it with another -o key=

"#]]
    );
}
