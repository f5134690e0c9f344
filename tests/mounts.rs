//! Folders of this computer in machines.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;

use serde_json::Value;
use snapbox::{assert_data_eq, str};
use support::{Ran, World, eventually};

/// What a machine's shell says to a line.
fn inside(world: &World, name: &str, line: &str) -> Ran {
    world.berth(&["ssh", name, "--", line])
}

/// The rows of `berth mount ls`.
fn mounts(world: &World, name: &str) -> Value {
    let ran = world.berth(&["mount", "ls", name, "--json"]).ok();
    serde_json::from_str(&ran.stdout).unwrap()
}

/// A world with a folder `src` that has one file in it, and where it goes in machines: they have this computer's files.
fn world() -> (World, String, String) {
    let world = World::new();
    fs::create_dir(world.path("src")).unwrap();
    fs::write(world.path("src/hello"), "hello\n").unwrap();
    let host = world.path("src").display().to_string();
    let guest = world.path("guest").display().to_string();
    (world, host, guest)
}

#[test]
fn a_folder_is_seen_in_a_machine_from_start_to_start() {
    let (world, host, guest) = world();
    let made = world.create(&["web1", "--mount", &format!("{host}:{guest}")]);
    made.ok();
    assert_eq!(
        mounts(&world, "web1"),
        serde_json::json!([{
            "host": host, "guest": guest, "read_only": false, "transport": "sshfs", "error": null,
        }])
    );
    let read =
        format!("cat {guest}/hello; cd {guest} && echo there >new && mkdir -m 700 d && mv new d/");
    assert_eq!(inside(&world, "web1", &read).ok().stdout, "hello\n");
    assert_eq!(
        fs::read_to_string(world.path("src/d/new")).unwrap(),
        "there\n"
    );

    for target in ["hello", "../away", "/nowhere/at/all"] {
        let link = format!("ln -s {target} {guest}/link; readlink {guest}/link; rm {guest}/link");
        assert_eq!(inside(&world, "web1", &link).ok().stdout.trim(), target);
    }

    // The same after a boot, and after the connection was lost.
    world.berth(&["restart", "web1"]).ok();
    assert_eq!(
        inside(&world, "web1", &format!("cat {guest}/d/new"))
            .ok()
            .stdout,
        "there\n"
    );
    let supervisor = world.supervisor("web1")["pid"].as_i64().unwrap();
    let pid = nix::unistd::Pid::from_raw(supervisor.try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    world.berth(&["start", "web1"]).ok();
    assert_eq!(
        inside(&world, "web1", &format!("cat {guest}/hello"))
            .ok()
            .stdout,
        "hello\n"
    );
    let inspected = world.berth(&["inspect", "web1"]).ok().stdout;
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected[0]["record"]["mounts"][0]["guest"], guest.as_str());

    world.berth(&["stop", "web1"]).ok();
    assert_eq!(mounts(&world, "web1")[0]["transport"], Value::Null);
    world.berth(&["mount", "rm", "web1", &guest]).ok();
    world.berth(&["start", "web1"]).ok();
    inside(&world, "web1", &format!("test -e {guest}/hello")).code(1);
}

#[test]
fn folders_come_and_go_while_a_machine_runs() {
    let (world, host, guest) = world();
    world.create(&["web1"]).ok();
    let read_only = format!("{host}:{guest}:ro");
    let added = world.berth(&["mount", "add", "web1", &read_only]).ok();
    assert_eq!(added.stdout.trim(), guest);
    assert_eq!(
        inside(&world, "web1", &format!("cat {guest}/hello"))
            .ok()
            .stdout,
        "hello\n"
    );
    inside(&world, "web1", &format!("touch {guest}/x")).code(1);
    inside(&world, "web1", &format!("echo x >>{guest}/hello")).says("Read-only");

    // What the host changes is seen soon.
    fs::write(world.path("src/hello"), "changed\n").unwrap();
    eventually("the change is seen", || {
        inside(&world, "web1", &format!("cat {guest}/hello")).stdout == "changed\n"
    });
    world
        .berth(&["mount", "rm", "web1", &format!("{guest}/")])
        .ok();
    inside(
        &world,
        "web1",
        &format!("grep berth- /proc/mounts || test -e {guest}/hello"),
    )
    .code(1);
    assert!(
        world.supervisor("web1").is_null(),
        "it has nothing to do any more"
    );
    assert_eq!(mounts(&world, "web1"), serde_json::json!([]));
}

#[test]
fn a_folder_that_is_gone_is_told_and_seen_again_when_it_is_back() {
    let (world, host, guest) = world();
    let mount = format!("{host}:{guest}");
    world.create(&["web1", "--mount", &mount]).ok();
    world.berth(&["stop", "web1"]).ok();
    fs::rename(world.path("src"), world.path("away")).unwrap();
    let told = world.berth(&["start", "web1"]).code(1).told();
    assert_data_eq!(
        told,
        str![[r#"
exit 1
TIME web1: Starting
TIME web1: Starting sshd
TIME web1: Booting
TIME web1: Connecting
TIME web1: Opening the endpoint
TIME web1: Mounting
berth: machine web1: WORLD/guest is not mounted: WORLD/src is not there any more
hint: the machine runs: `berth mount ls web1` tells how it is, `berth mount rm web1 PATH` gives it up

"#]]
    );
    fs::rename(world.path("away"), world.path("src")).unwrap();
    world.berth(&["start", "web1"]).ok();
    assert_eq!(mounts(&world, "web1")[0]["transport"], "sshfs");
}

#[test]
fn an_add_that_was_killed_is_there_or_not_and_a_start_finishes_it() {
    let (world, host, guest) = world();
    world.create(&["web1"]).ok();
    let mount = format!("{host}:{guest}");
    for (point, kept) in [
        ("record:begin", false),
        ("record:work", true),
        ("mounts:begin", true),
        ("mounts:work", true),
    ] {
        let mut add = world.command(&["mount", "add", "web1", &mount]);
        add.env("BERTH_DIE_AT", format!("mount add:{point}"));
        assert_eq!(world.finish(&mut add).code, -9, "{point}");
        world.berth(&["start", "web1"]).ok();
        let rows = mounts(&world, "web1");
        assert_eq!(rows.as_array().unwrap().len(), usize::from(kept), "{point}");
        if kept {
            assert_eq!(rows[0]["transport"], "sshfs", "{point}");
            world.berth(&["mount", "rm", "web1", &guest]).ok();
        }
    }
}

#[test]
fn what_cannot_be_mounted_is_refused() {
    let (world, host, _) = world();
    world.create(&["web1"]).ok();
    fs::write(world.path("file"), "").unwrap();
    let before = world.snapshot();
    let long = format!("{host}:/srv/{}", "x".repeat(300));
    let add = |mount: &str| {
        vec![
            "mount".to_owned(),
            "add".into(),
            "web1".into(),
            mount.into(),
        ]
    };
    let words = |line: &str| line.split(' ').map(str::to_owned).collect();
    let mut lines: Vec<Vec<String>> = [
        "nowhere",
        "file",
        "src:relative",
        "src:/srv/x:RO",
        "src:/srv/x:ro:more",
        "",
        ":/srv/x",
        "src:/",
        "src:/etc/x",
        "src:/var/lib/docker",
        "src:/usr/bin",
        "src:/root",
        "src:/srv/../etc",
        "src:/srv/a\u{1b}[2J",
        &long,
    ]
    .map(add)
    .to_vec();
    lines.extend(
        [
            "mount add web2 src:/srv/x",
            "mount ls web2",
            "mount rm web1 /srv/x",
            "create two -d sshd --mount src:/srv/x --mount src:/srv/x/",
            "create two -d sshd --mount src:/srv --mount src:/srv/x",
            "create two -d sshd --mount nowhere",
        ]
        .map(words),
    );
    let mut told = String::new();
    for line in lines {
        let args: Vec<&str> = line.iter().map(String::as_str).collect();
        let ran = world.berth(&args);
        assert_ne!(ran.code, 0, "{line:?}");
        let shown = line
            .join(" ")
            .replace('\u{1b}', "ESC")
            .replace(&host, "SRC");
        let shown: String = shown.chars().take(70).collect();
        told += &format!("$ berth {shown}\n{}", ran.told());
        world.is_as_it_was(&before, &shown);
    }
    assert_data_eq!(
        told,
        str![[r#"
$ berth mount add web1 nowhere
exit 2
berth: mount: WORLD/nowhere: No such file or directory (os error 2)
$ berth mount add web1 file
exit 2
berth: mount: WORLD/file is not a folder
$ berth mount add web1 src:relative
exit 2
berth: mount: "relative" is not an absolute path in the machine, such as /srv/relative
$ berth mount add web1 src:/srv/x:RO
exit 2
berth: mount: "RO" is neither ro nor rw
$ berth mount add web1 src:/srv/x:ro:more
exit 2
berth: mount: "src:/srv/x:ro:more" has too many colons: write HOST[:GUEST][:ro]; a path with a colon cannot be mounted
$ berth mount add web1 
exit 2
berth: mount: no folder is named: write HOST[:GUEST][:ro]
$ berth mount add web1 :/srv/x
exit 2
berth: mount: no folder is named: write HOST[:GUEST][:ro]
$ berth mount add web1 src:/
exit 2
berth: mount: / in the machine is its system's: name another place, such as /srv/work
$ berth mount add web1 src:/etc/x
exit 2
berth: mount: /etc/x in the machine is its system's: name another place, such as /srv/work
$ berth mount add web1 src:/var/lib/docker
exit 2
berth: mount: /var/lib/docker in the machine is its system's: name another place, such as /srv/work
$ berth mount add web1 src:/usr/bin
exit 2
berth: mount: /usr/bin in the machine is its system's: name another place, such as /srv/work
$ berth mount add web1 src:/root
exit 2
berth: mount: /root in the machine is its system's: name another place, such as /srv/work
$ berth mount add web1 src:/srv/../etc
exit 2
berth: mount: /srv/../etc has . or .. in it
$ berth mount add web1 src:/srv/aESC[2J
exit 2
berth: mount: it has control characters
$ berth mount add web1 SRC:/srv/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
exit 2
berth: mount: a path in the machine has 1024 bytes at most, and each of its names 255
$ berth mount add web2 src:/srv/x
exit 3
berth: there is no machine web2
hint: there are: web1
$ berth mount ls web2
exit 3
berth: there is no machine web2
hint: there are: web1
$ berth mount rm web1 /srv/x
exit 3
berth: machine web1 has no mount on /srv/x
hint: it has none: `berth mount add web1 FOLDER` makes one
$ berth create two -d sshd --mount src:/srv/x --mount src:/srv/x/
exit 2
berth: mount: /srv/x is mounted on already
$ berth create two -d sshd --mount src:/srv --mount src:/srv/x
exit 2
berth: mount: /srv/x lies in /srv, which is another mount
$ berth create two -d sshd --mount nowhere
exit 2
berth: mount: WORLD/nowhere: No such file or directory (os error 2)

"#]]
    );
}
