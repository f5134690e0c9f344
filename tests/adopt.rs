//! Hosts that run already: adopted, used, and let go again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use snapbox::{assert_data_eq, str};
use support::engine::{self, Engine};
use support::host::{Host, script, user_config};
use support::{Ran, World, eventually};

/// Adopts a host without looking for an engine.
fn adopt(world: &World, name: &str, host: &Host, rest: &[&str]) -> Ran {
    let options = host.options();
    let mut args = vec!["create", name, "--engine", "none"];
    args.extend(options.iter().map(String::as_str));
    args.extend(rest);
    world.berth(&args)
}

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
fn a_changed_host_key_is_refused_until_it_is_accepted() {
    let world = World::new();
    let mut host = Host::start(&world, "h", "");
    adopt(&world, "h1", &host, &[]).ok();
    let old = host.fingerprint();
    let told = world.berth(&["host-key", "h1"]).ok().stdout;
    assert_eq!(
        told,
        format!("accepted  ssh-ed25519 {old}\nshown     ssh-ed25519 {old}\n")
    );
    host.change_key("");
    let new = host.fingerprint();
    let row = world.row("h1");
    assert_eq!(row["state"], "error");
    let error = row["error"].as_str().unwrap();
    assert!(error.contains(&old) && error.contains(&new), "{error}");
    world.berth(&["ssh", "h1", "--", "true"]).code(255);
    let ran = world.berth(&["start", "h1"]).code(1);
    assert_data_eq!(
        ran.told().replace(&old, "OLD").replace(&new, "NEW"),
        str![[r#"
exit 1
TIME h1: Looking whether it answers
berth: machine h1: h1.berth does not have the host key recorded in WORLD/b/machines/h1/known_hosts, ssh-ed25519 OLD: it offers ssh-ed25519 NEW. Either the machine was rebuilt, or something stands between
hint: if the machine was made anew, `berth host-key h1` shows its key and how to accept it; otherwise find out who answers there

"#]]
    );
    // Only the key that the host really shows.
    world
        .berth(&["host-key", "h1", "--accept", &old])
        .code(1)
        .says("has no host key");
    world.berth(&["host-key", "h1", "--accept", &new]).ok();
    assert_eq!(world.state("h1"), "running");
    world.berth(&["ssh", "h1", "--", "true"]).ok();
}

#[test]
fn what_is_known_of_the_host_key_holds() {
    let world = World::new();
    let host = Host::start(&world, "h", "");
    let stranger = format!("SHA256:{}", "A".repeat(43));
    let fingerprint = format!("host-key={}", host.fingerprint());
    let public = format!("host-key={} a comment", host.public_key());
    adopt(&world, "h1", &host, &["-o", &fingerprint]).ok();
    adopt(&world, "h2", &host, &["-o", &public]).ok();
    let ran = adopt(
        &world,
        "h3",
        &host,
        &["-o", &format!("host-key={stranger}")],
    )
    .code(1);
    assert_data_eq!(
        ran.told().replace(&host.fingerprint(), "FINGERPRINT"),
        str![[r#"
exit 1
TIME h3: Creating the machine
TIME h3: 127.0.0.1 is root@127.0.0.1 port PORT
berth: machine h3: [127.0.0.1]:PORT has no host key SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA: it offers ssh-ed25519 FINGERPRINT
hint: nothing was sent there; find out who answers, or say the right fingerprint with -o host-key=SHA256:…

"#]]
    );

    // The user's known_hosts counts: one that has the key need not be asked, another key is refused.
    let known = world.path("known");
    user_config(&world, &format!("UserKnownHostsFile {}\n", known.display()));
    fs::write(
        &known,
        format!("[127.0.0.1]:{} {}\n", host.port, host.public_key()),
    )
    .unwrap();
    let hashed = Command::new("ssh-keygen")
        .arg("-Hf")
        .arg(&known)
        .output()
        .unwrap();
    assert!(hashed.status.success());
    let ran = adopt(&world, "h4", &host, &[]).ok();
    assert!(!ran.stderr.contains("shows the host key"), "{ran:?}");
    let other = fs::read_to_string(host.path("user_key.pub")).unwrap();
    fs::write(&known, format!("[127.0.0.1]:{} {other}", host.port)).unwrap();
    adopt(&world, "h5", &host, &[])
        .code(1)
        .says("does not have the host key recorded");
    world.berth(&["rm", "-y", "--all"]).ok();
}

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

#[test]
fn a_host_that_goes_away_and_comes_back() {
    let world = World::new();
    let mut host = Host::start(&world, "h", "");
    adopt(&world, "h1", &host, &[]).ok();
    host.stop();
    let row = world.row("h1");
    assert_eq!(row["state"], "unreachable");
    assert!(row["error"].as_str().unwrap().contains("refused"), "{row}");
    let ran = world.berth(&["start", "h1"]).code(4);
    assert_data_eq!(
        ran.told(),
        str![[r#"
exit 4
TIME h1: Looking whether it answers
berth: machine h1: the ssh driver cannot power h1 on, which does not answer: Connection refused (os error 111)

"#]]
    );
}

#[test]
fn every_wrong_word_is_refused_before_anything_is_made() {
    let world = World::new();
    let mut told = String::new();
    for rest in [
        &[][..],
        &["-o", "host="],
        &["-o", "host=-oProxyCommand=id"],
        &["-o", "host=me@web"],
        &["-o", "host=web", "-o", "user=-l"],
        &["-o", "host=web", "-o", "port=0"],
        &["-o", "host=web", "-o", "port=ssh"],
        &["-o", "host=web", "-o", "key=/nowhere"],
        &["-o", "host=web", "-o", "jump=a b"],
        &["-o", "host=web", "-o", "host-key=SHA256:short"],
        &["-o", "host=web", "-o", "install-key=yes"],
        &["-o", "host=web", "-o", "hots=web"],
        &["-o", "host=web", "--cpus", "2"],
        &["-o", "host=web", "--memory", "2G"],
        &["-o", "host=web", "--disk", "20G"],
        &["-o", "host=web", "--image", "debian-13"],
    ] {
        let mut args = vec!["create", "h1", "-d", "ssh"];
        args.extend(rest);
        let ran = world.berth(&args);
        told += &format!("{}: {}", rest.join(" "), ran.told());
        assert_eq!(ran.code, 2, "{ran:?}");
    }
    for rest in [&["h1"][..], &["h1", "--accept", "SHA256:x"]] {
        let mut args = vec!["host-key"];
        args.extend(rest);
        told += &format!("{}: {}", args.join(" "), world.berth(&args).told());
    }
    assert_data_eq!(
        told,
        str![[r#"
: exit 2
berth: machine h1: host=: say which host: -o host=HOST
-o host=: exit 2
berth: machine h1: host=: say which host: -o host=HOST
-o host=-oProxyCommand=id: exit 2
berth: machine h1: host=-oProxyCommand=id: is not a host name or an address
-o host=me@web: exit 2
berth: machine h1: host=me@web: the user goes into -o user=USER
-o host=web -o user=-l: exit 2
berth: machine h1: user=-l: is not a user's name
-o host=web -o port=0: exit 2
berth: machine h1: port=0: is not a port between 1 and PORT
-o host=web -o port=ssh: exit 2
berth: machine h1: port=ssh: is not a whole number
-o host=web -o key=/nowhere: exit 2
berth: machine h1: key=/nowhere: there is no such file
-o host=web -o jump=a b: exit 2
berth: machine h1: jump=a b: is not [USER@]HOST[:PORT], or several with commas
-o host=web -o host-key=SHA256:short: exit 2
berth: machine h1: host-key=SHA256:short: is neither a public key (ssh-ed25519 AAAA…) nor a fingerprint (SHA256:…)
-o host=web -o install-key=yes: exit 2
berth: machine h1: install-key=yes: is neither true nor false
-o host=web -o hots=web: exit 2
berth: machine h1: the ssh driver has no option "hots"
hint: did you mean host?
-o host=web --cpus 2: exit 2
berth: --cpus: the ssh driver adopts hosts that run already, as they are
-o host=web --memory 2G: exit 2
berth: --memory: the ssh driver adopts hosts that run already, as they are
-o host=web --disk 20G: exit 2
berth: --disk: the ssh driver adopts hosts that run already, as they are
-o host=web --image debian-13: exit 2
berth: --image: the ssh driver adopts hosts that run already, as they are
host-key h1: exit 3
berth: there is no machine h1
hint: there are no machines yet: `berth up` makes one
host-key h1 --accept SHA256:x: exit 2
error: invalid value 'SHA256:x' for '--accept <FINGERPRINT>': write it as SHA256:…, as ssh-keygen -l prints it

For more information, try '--help'.

"#]]
    );
}

#[test]
fn what_broke_off_goes_on_or_goes_away() {
    let world = World::new();
    let host = Host::start(&world, "h", "");
    let options = host.options();
    let keys = || fs::read_to_string(host.path("home/.ssh/authorized_keys")).unwrap();
    let before = keys();
    for at in [
        "create:disk:work",
        "create:host-key:begin",
        "create:host-key:work",
        "create:connect:begin",
        "create:connect:work",
    ] {
        let mut args = vec!["create", "h1", "--engine", "none", "-o", "install-key=true"];
        args.extend(options.iter().map(String::as_str));
        let died = world.finish(world.command(&args).env("BERTH_DIE_AT", at));
        assert_eq!(died.code, -9, "{at}: {died:?}");
        assert_eq!(world.state("h1"), "creating", "{at}");
        world.berth(&["create", "--resume", "h1"]).ok();
        world.berth(&["ssh", "h1", "--", "true"]).ok();
        let died = world.finish(
            world
                .command(&["rm", "-y", "h1"])
                .env("BERTH_DIE_AT", "rm:key:work"),
        );
        assert_eq!(died.code, -9, "{at}: {died:?}");
        world.berth(&["rm", "-y", "h1"]).ok();
        assert_eq!(keys().trim(), before.trim(), "{at}");
        assert_eq!(world.row("h1"), serde_json::Value::Null);
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
