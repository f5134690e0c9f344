//! Hosts that have an engine.

use std::fs;

use snapbox::{assert_data_eq, str};

use crate::adopt;
use crate::support::World;
use crate::support::engine::{self, Engine};
use crate::support::host::{Host, script};

/// A host with an engine that berth did not install: its login environment says where it listens.
fn with_engine(world: &World, name: &str, more: &str) -> (Host, Engine) {
    let socket = world.path(format!("{name}-engine.sock"));
    let engine = Engine::start(&socket);
    let more = format!(" DOCKER_HOST=unix://{}{more}", socket.display());
    (Host::start(world, name, &more), engine)
}

#[test]
fn a_host_with_an_engine_is_pointed_at_and_let_go() {
    let world = World::new();
    let (host, _engine) = with_engine(&world, "old", "");
    let options = host.options();
    let mut args = vec!["create", "old1"];
    args.extend(options.iter().map(String::as_str));
    let ran = world.berth(&args).ok();
    assert_data_eq!(
        ran.told().replace(&host.fingerprint(), "FINGERPRINT"),
        str![[r#"
exit 0
TIME old1: Creating the machine
TIME old1: 127.0.0.1 is root@127.0.0.1 port PORT
TIME old1: Meeting the host
TIME old1: old1 shows the host key ssh-ed25519 FINGERPRINT, which is accepted from now on; to be sure, compare it with `ssh-keygen -lf` of its /etc/ssh/ssh_host_*_key.pub
TIME old1: Connecting
TIME old1: Looking for an engine
TIME old1: old1 has docker 28.5.2, which is kept as it is
TIME old1: Opening the endpoint
TIME old1: Waiting for the engine

"#]]
    );
    let row = world.row("old1");
    assert_eq!(row["state"], "running");
    assert_eq!(row["engine"]["kind"], "docker");
    assert_eq!(row["engine"]["version"], "28.5.2");
    assert_eq!(row["address"], "127.0.0.1");
    assert!(
        row["cpus"].as_u64().unwrap() > 0 && row["memory"].as_u64().unwrap() > 0,
        "{row}"
    );
    assert_eq!(engine::ping(&world, "old1"), "OK");
    let ran = world.berth(&["ssh", "old1", "--", "echo $HOME"]).ok();
    assert!(ran.stdout.trim().ends_with("host-old/home"), "{ran:?}");
    fs::write(world.path("file"), "carried").unwrap();
    let there = host.path("carried").display().to_string();
    world.berth(&["cp", "file", &format!("old1:{there}")]).ok();
    assert_eq!(fs::read_to_string(there).unwrap(), "carried");

    // Its containers' ports are on its own address: nothing of them appears here.
    assert_eq!(
        world.supervisor("old1")["ports"].as_array().unwrap().len(),
        0
    );

    // Who cannot power it says so; starting what runs is a success.
    world.berth(&["start", "old1"]).ok();
    for verb in ["stop", "kill"] {
        let ran = world.berth(&[verb, "old1"]).code(4);
        assert!(ran.stderr.contains("the ssh driver cannot"), "{ran:?}");
    }
    assert_eq!(engine::ping(&world, "old1"), "OK");

    // A TLS endpoint on this computer, as for any machine.
    world.berth(&["certs", "enable", "old1"]).ok();
    let url = world.berth(&["url", "--tls", "old1"]).ok().stdout;
    assert!(url.starts_with("tcp://127.0.0.1:"), "{url}");

    let keys = fs::read_to_string(host.path("home/.ssh/authorized_keys")).unwrap();
    assert!(!keys.contains("berth"), "{keys}");
    let ran = world.berth(&["rm", "-y", "old1"]).ok();
    assert_data_eq!(
        ran.told(),
        str![[r#"
exit 0
TIME old1: Removing
TIME old1: the host old1 itself stays as it is, with its engine and its containers

"#]]
    );
    assert_eq!(world.row("old1"), serde_json::Value::Null);
}

#[test]
fn without_streams_the_engines_own_client_carries_them() {
    let world = World::new();
    let (host, _engine) = with_engine(
        &world,
        "tight",
        "\nAllowStreamLocalForwarding no\nAllowTcpForwarding no",
    );
    let dial = "#!/usr/bin/perl\nuse Socket;\nmy ($path) = \"@ARGV\" =~ m{-H unix://(\\S+) system dial-stdio$} or exit 2;\n\
        socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, pack_sockaddr_un($path)) or exit 1;\n\
        if (fork) { while (sysread(S, $b, 65536)) { syswrite(STDOUT, $b) } }\n\
        else { while (sysread(STDIN, $b, 65536)) { syswrite(S, $b) } shutdown(S, 1) }\n";
    script(&host.path("bin/docker"), dial);
    let options = host.options();
    let mut args = vec!["create", "tight1", "--engine", "docker"];
    args.extend(options.iter().map(String::as_str));
    world.berth(&args).ok();
    assert_eq!(world.row("tight1")["engine"]["version"], "28.5.2");
    for _ in 0..20 {
        assert_eq!(engine::ping(&world, "tight1"), "OK");
    }
}

#[test]
fn only_what_was_adopted_has_an_engine_that_ends_tls_itself() {
    let world = World::new();
    world.create(&["vm1"]).ok();
    let _engine = engine::install(&world, "vm1");
    let host = Host::start(&world, "h", "");
    adopt(&world, "h1", &host, &[]).ok();
    let mut told = String::new();
    for args in [
        &["certs", "enable", "vm1", "--by-engine"][..],
        &["certs", "enable", "h1", "--by-engine"],
        &["certs", "enable", "h1", "--by-engine", "--address", "here"],
    ] {
        told += &format!("{}: {}", args.join(" "), world.berth(args).told());
    }
    assert_data_eq!(
        told,
        str![[r#"
certs enable vm1 --by-engine: exit 2
berth: --by-engine: machine vm1 is on this computer, which ends TLS for it
certs enable h1 --by-engine: exit 4
berth: machine h1 has no container engine
hint: `berth provision h1 --engine docker` installs one
certs enable h1 --by-engine --address here: exit 2
error: invalid value 'here' for '--address <IP[:PORT]>': write an IP address, with a port if you like: 127.0.0.1, [::1]:2376

For more information, try '--help'.

"#]]
    );
}
