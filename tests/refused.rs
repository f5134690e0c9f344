//! What cannot be done is refused: an exit code, words that help, and nothing changed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;
use std::net::TcpListener;

use snapbox::{assert_data_eq, str};
use support::World;

/// Runs each line of arguments after the first word, which is its title; all must change nothing.
fn table(world: &World, lines: &[&[&str]]) -> String {
    let before = world.snapshot();
    let mut told = String::new();
    for args in lines {
        let ran = world.berth(args);
        assert_ne!(ran.code, 0, "{args:?}: {ran:?}");
        let mut line = args.join(" ");
        if line.len() > 100 {
            line = format!("{}…", &line[..40]);
        }
        let line = line.replace(&world.path("").display().to_string(), "WORLD/");
        told += &format!("$ berth {line}\n{}\n", ran.told());
        world.is_as_it_was(&before, &line);
    }
    told
}

/// A world with one machine, so that its folders are there.
fn world() -> World {
    let world = World::new();
    world.create(&["web1"]).ok();
    world
}

#[test]
fn names() {
    let world = world();
    let long = "x".repeat(300);
    let told = table(
        &world,
        &[
            &["create", ".."],
            &["create", "--", "-x"],
            &["create", "default"],
            &["create", "a"],
            &["create", &long],
            &["create", "maschinö"],
            &["create", "Web"],
            &["create", "a/b"],
            &["create", ""],
            &["create", "twice", "twice"],
            &["start", ".."],
            &["rm", "-y", "../web1"],
            &["rm", "-y", "web2"],
            &["inspect", "web1", "web2"],
            &["ssh", "web2"],
            &["use", "web2"],
            &["logs", "../../etc/passwd"],
        ],
    );
    assert_data_eq!(
        told,
        str![[r#"
$ berth create ..
exit 2
berth: ".." cannot be a machine's name: a name has only lower-case letters a-z, digits and hyphens

$ berth create -- -x
exit 2
berth: "-x" cannot be a machine's name: a name neither starts nor ends with a hyphen

$ berth create default
exit 2
berth: "default" cannot be a machine's name: docker keeps this name for its own context

$ berth create a
exit 2
berth: "a" cannot be a machine's name: a name has 2 to 63 characters

$ berth create xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
exit 2
berth: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" cannot be a machine's name: a name has 2 to 63 characters

$ berth create maschinö
exit 2
berth: "maschinö" cannot be a machine's name: a name has only lower-case letters a-z, digits and hyphens

$ berth create Web
exit 2
berth: "Web" cannot be a machine's name: a name has only lower-case letters a-z, digits and hyphens

$ berth create a/b
exit 2
berth: "a/b" cannot be a machine's name: a name has only lower-case letters a-z, digits and hyphens

$ berth create 
exit 2
berth: "" cannot be a machine's name: a name has 2 to 63 characters

$ berth create twice twice
exit 2
berth: twice is named twice

$ berth start ..
exit 3
berth: there is no machine ..
hint: there are: web1

$ berth rm -y ../web1
exit 3
berth: there is no machine ../web1
hint: there are: web1

$ berth rm -y web2
exit 3
berth: there is no machine web2
hint: there are: web1

$ berth inspect web1 web2
exit 3
berth: there is no machine web2
hint: there are: web1

$ berth ssh web2
exit 3
berth: there is no machine web2
hint: there are: web1

$ berth use web2
exit 3
berth: there is no machine web2
hint: there are: web1

$ berth logs ../../etc/passwd
exit 3
berth: there is no machine ../../etc/passwd
hint: there are: web1


"#]]
    );
}

#[test]
fn requests() {
    let world = world();
    let image = world.image();
    let text = world.path("notes.txt");
    fs::write(&text, "not a disk\n").unwrap();
    let text = text.display().to_string();
    fs::write(world.path("list.json"), "[1]").unwrap();
    fs::write(
        world.path("hosts.json"),
        r#"{"hosts": ["tcp://0.0.0.0:2375"]}"#,
    )
    .unwrap();
    let base = [
        "create", "web2", "--engine", "none", "--image", &image, "-d", "sshd",
    ];
    let with = |rest: &[&'static str]| [&base[..], rest].concat();
    let told = table(
        &world,
        &[
            &with(&["--memory", "0"]),
            &with(&["--memory", "1PB"]),
            &with(&["--memory", "abc"]),
            &with(&["--memory", "1M"]),
            &with(&["--disk", "-1G"]),
            &with(&["--cpus", "many"]),
            &with(&["--cpus", "0"]),
            &with(&["-o", "mut=true"]),
            &with(&["-o", "zzz=1"]),
            &with(&["-o", "mute=maybe"]),
            &with(&["-o", "mute"]),
            &with(&["-l", "=x"]),
            &with(&["--channel", "carrier-pigeon"]),
            &with(&["--disk", "1M"]),
            &with(&["--daemon-json", "no-such-file"]),
            &with(&["--daemon-json", "list.json"]),
            &with(&["--daemon-json", "hosts.json"]),
            &with(&["--registry-mirror", "mirror.lan"]),
            &with(&["--insecure-registry", "http://reg.lan"]),
            &with(&["--engine-label", "role"]),
            &with(&["--engine-env", "NO_SUCH_VARIABLE"]),
            &with(&["--engine-env", "A B=x"]),
            &["create", "web2", "-d", "vmware"],
            &["create", "web2", "-d", "../sh"],
            &["create", "web2", "-d", "sshd", "--engine", "dokcer"],
            &["create", "web2", "-d", "sshd", "--engine", "docker@newest"],
            &[
                "create",
                "web2",
                "-d",
                "sshd",
                "--engine",
                "podman",
                "--channel",
                "upstream",
            ],
            &[
                "create",
                "web2",
                "-d",
                "sshd",
                "--channel",
                "bundle:nowhere.tar",
            ],
            &[
                "create",
                "web2",
                "-d",
                "sshd",
                "--channel",
                "bundle:notes.txt",
            ],
            &[
                "create",
                "web2",
                "-d",
                "sshd",
                "--engine",
                "none",
                "--image",
                "debain-13",
            ],
            &[
                "create",
                "web2",
                "-d",
                "sshd",
                "--engine",
                "none",
                "--image",
                "uml-kernel",
            ],
            &[
                "create",
                "web2",
                "-d",
                "sshd",
                "--engine",
                "none",
                "--image",
                "/no/such/disk",
            ],
            &[
                "create", "web2", "-d", "sshd", "--engine", "none", "--image", &text,
            ],
            &[
                "create", "web1", "-d", "sshd", "--engine", "none", "--image", &image,
            ],
            &["create", "--resume", "web1"],
            &["create", "--resume", "web2"],
        ],
    );
    assert_data_eq!(
        told,
        str![[r#"
$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd --memory 0
exit 2
error: invalid value '0' for '--memory <SIZE>': "0" is nothing

For more information, try '--help'.

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd --memory 1PB
exit 2
error: invalid value '1PB' for '--memory <SIZE>': "pb" is not a unit of size: use K, M, G or T

For more information, try '--help'.

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd --memory abc
exit 2
error: invalid value 'abc' for '--memory <SIZE>': "abc" is not a size such as 2G or 512M

For more information, try '--help'.

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd --memory 1M
exit 2
berth: machine web2: memory=1048576: is less than 16 MiB

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd --disk -1G
exit 2
error: unexpected argument '-1' found

  tip: to pass '-1' as a value, use '-- -1'

Usage: berth create [OPTIONS] <NAME>...

For more information, try '--help'.

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd --cpus many
exit 2
error: invalid value 'many' for '--cpus <N>': invalid digit found in string

For more information, try '--help'.

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd --cpus 0
exit 2
berth: --cpus: a machine has at least one

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd -o mut=true
exit 2
berth: machine web2: the sshd driver has no option "mut"
hint: did you mean mute?

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd -o zzz=1
exit 2
berth: machine web2: the sshd driver has no option "zzz"
hint: it has: mute, stubborn, frail, jump

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd -o mute=maybe
exit 2
berth: machine web2: mute=maybe: is neither true nor false

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd -o mute
exit 2
error: invalid value 'mute' for '--option <KEY=VALUE>': write KEY=VALUE

For more information, try '--help'.

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd -l =x
exit 2
error: invalid value '=x' for '--label <KEY=VALUE>': write KEY=VALUE

For more information, try '--help'.

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd --channel carrier-pigeon
exit 2
berth: --channel: "carrier-pigeon" is not a channel: distro, upstream, bundle:PATH

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd --disk 1M
exit 2
TIME web2: Importing the disk image
TIME web2: Storing the image
berth: --disk: 1 MiB is smaller than the image, which has 8 MiB

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd --daemon-json no-such-file
exit 1
berth: no-such-file: No such file or directory (os error 2)

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd --daemon-json list.json
exit 2
berth: --daemon-json: it is not a JSON object

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd --daemon-json hosts.json
exit 2
berth: --daemon-json: it has hosts: berth reaches the engine by its socket; see `berth certs enable`

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd --registry-mirror mirror.lan
exit 2
berth: --registry-mirror: "mirror.lan" is not a URL such as https://mirror.example.org

$ berth create web2 --engine none --image /tmp/b…
exit 2
berth: --insecure-registry: "http://reg.lan" is not HOST, HOST:PORT or a network such as 10.0.0.0/8

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd --engine-label role
exit 2
error: invalid value 'role' for '--engine-label <KEY=VALUE>': write KEY=VALUE

For more information, try '--help'.

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd --engine-env NO_SUCH_VARIABLE
exit 2
error: invalid value 'NO_SUCH_VARIABLE' for '--engine-env <NAME[=VALUE]>': NO_SUCH_VARIABLE is not set in this shell

For more information, try '--help'.

$ berth create web2 --engine none --image WORLD/tiny.qcow2 -d sshd --engine-env A B=x
exit 2
berth: --engine-env: "A B" cannot be a variable

$ berth create web2 -d vmware
exit 3
berth: there is no driver vmware
hint: there are: qemu, uml, virtualbox, ssh, sshd

$ berth create web2 -d ../sh
exit 3
berth: there is no driver ../sh
hint: there are: qemu, uml, virtualbox, ssh, sshd

$ berth create web2 -d sshd --engine dokcer
exit 2
berth: --engine: "dokcer" is not an engine: docker, podman, none

$ berth create web2 -d sshd --engine docker@newest
exit 2
berth: --engine: "newest" is not a version: latest, or one such as 26.1 or 26.1.5

$ berth create web2 -d sshd --engine podman --channel upstream
exit 2
berth: --channel: podman's makers publish no packages: use distro or bundle:PATH

$ berth create web2 -d sshd --channel bundle:nowhere.tar
exit 2
berth: --channel: the bundle WORLD/nowhere.tar cannot be used: there is no such file or folder

$ berth create web2 -d sshd --channel bundle:notes.txt
exit 2
berth: --channel: the bundle WORLD/notes.txt cannot be used: it is no archive: failed to read entire block

$ berth create web2 -d sshd --engine none --image debain-13
exit 3
berth: there is no image debain-13; did you mean debian-13?
hint: `berth image ls` lists them

$ berth create web2 -d sshd --engine none --image uml-kernel
exit 2
berth: the image uml-kernel is a kernel, not a guest's disk

$ berth create web2 -d sshd --engine none --image /no/such/disk
exit 1
TIME web2: Importing the disk image
berth: /no/such/disk: No such file or directory (os error 2)

$ berth create web2 -d sshd --engine none --image WORLD/notes.txt
exit 2
TIME web2: Importing the disk image
berth: WORLD/notes.txt is not a disk image that can be used: it has neither a disk image's header nor a partition table

$ berth create web1 -d sshd --engine none --image WORLD/tiny.qcow2
exit 4
berth: machine web1 exists already
hint: `berth start web1` starts it, `berth rm web1` removes it

$ berth create --resume web1
exit 4
berth: machine web1 is complete: there is nothing to resume
hint: `berth start web1` starts it

$ berth create --resume web2
exit 3
berth: there is no machine web2
hint: there are: web1


"#]]
    );
}

#[test]
fn commands() {
    let world = world();
    let told = table(
        &world,
        &[
            &["rm", "web1"],
            &["rm"],
            &["stop"],
            &["stop", "-l", "no=such"],
            &["ls", "--state", "nonsense"],
            &["ls", "--format", "{{.Nope}}"],
            &["ls", "--format", "{{.Name"],
            &["ls", "--json", "-q"],
            &["ls", "--timeout", "-1"],
            &["env", "web1"],
            &["use", "web1"],
            &["url", "web1"],
            &["env", "web1", "--shell", "cmd"],
            &["logs", "--supervisor", "web1"],
            &["frobnicate"],
        ],
    );
    assert_data_eq!(
        told,
        str![[r#"
$ berth rm web1
exit 2
berth: there is no terminal to ask on: say --yes

$ berth rm
exit 2
berth: name a machine, select some with -l, --driver or --state, or say --all

$ berth stop
exit 2
berth: name a machine, select some with -l, --driver or --state, or say --all

$ berth stop -l no=such
exit 2
berth: the selection: no machine matches it

$ berth ls --state nonsense
exit 2
error: invalid value 'nonsense' for '--state <STATE>'
  [possible values: creating, starting, running, paused, suspended, stopping, stopped, error, unreachable, missing]

For more information, try '--help'.

$ berth ls --format {{.Nope}}
exit 2
berth: --format: no field "Nope": there are name, driver, state, image, engine, endpoint, address, ssh, labels, cpus, memory, disk, created, active, error

$ berth ls --format {{.Name
exit 2
berth: --format: an opening {{ is never closed

$ berth ls --json -q
exit 2
error: the argument '--json' cannot be used with '--quiet'

Usage: berth ls --json [NAME]...

For more information, try '--help'.

$ berth ls --timeout -1
exit 2
error: unexpected argument '-1' found

  tip: to pass '-1' as a value, use '-- -1'

Usage: berth ls [OPTIONS] [NAME]...

For more information, try '--help'.

$ berth env web1
exit 4
berth: machine web1 has no container engine
hint: `berth provision web1 --engine docker` installs one

$ berth use web1
exit 4
berth: machine web1 has no container engine
hint: `berth provision web1 --engine docker` installs one

$ berth url web1
exit 4
berth: machine web1 has no container engine
hint: `berth provision web1 --engine docker` installs one

$ berth env web1 --shell cmd
exit 2
error: invalid value 'cmd' for '--shell <SHELL>'
  [possible values: bash, zsh, sh, fish, powershell, tcsh, nushell]

For more information, try '--help'.

$ berth logs --supervisor web1
exit 3
berth: machine web1 has no such log yet

$ berth frobnicate
exit 2
error: unrecognized subcommand 'frobnicate'

Usage: berth [OPTIONS] <COMMAND>

For more information, try '--help'.


"#]]
    );
}

#[test]
fn records_that_cannot_be_read() {
    let world = world();
    world.create(&["good"]).ok();
    world.berth(&["kill", "web1"]).ok();
    let path = world.file("web1", "machine.toml");
    let good = fs::read_to_string(&path).unwrap();
    let future = good.replace("version = 1", "version = 99");
    let mut told = String::new();
    for (title, content) in [
        ("empty", ""),
        ("cut off", &good[..good.find("\"sshd").unwrap() + 3]),
        ("cut off in a word", &good[..15]),
        ("of a later berth", &future),
        ("no text", "\u{0}\u{1}\u{2}"),
        ("another kind", "version = 1\nname = ['x']\n"),
    ] {
        fs::write(&path, content).unwrap();
        told += &format!("# {title}\n");
        told += &table(&world, &[&["start", "web1"], &["rm", "-y", "web1"]]);
        // One bad record is one row, and all others are as they were.
        let row = world.row("web1");
        assert_eq!(row["state"], "error", "{title}");
        assert!(
            row["error"].as_str().unwrap().contains("machine.toml"),
            "{row}"
        );
        assert_eq!(world.state("good"), "running");
        assert_eq!(world.berth(&["ls", "-q"]).ok().lines(), ["good", "web1"]);
    }
    assert_data_eq!(
        told,
        str![[r##"
# empty
$ berth start web1
exit 1
berth: WORLD/b/machines/web1/machine.toml cannot be read: it has no version
hint: mend the file by hand, or remove the machine with `berth rm --force NAME`

$ berth rm -y web1
exit 1
berth: WORLD/b/machines/web1/machine.toml cannot be read: it has no version
hint: mend the file by hand, or remove the machine with `berth rm --force NAME`

# cut off
$ berth start web1
exit 1
berth: WORLD/b/machines/web1/machine.toml cannot be read: TOML parse error at line 4, column 13   | 4 | driver = "ss   |             ^ invalid basic string, expected `"`
hint: mend the file by hand, or remove the machine with `berth rm --force NAME`

$ berth rm -y web1
exit 1
berth: WORLD/b/machines/web1/machine.toml cannot be read: TOML parse error at line 4, column 13   | 4 | driver = "ss   |             ^ invalid basic string, expected `"`
hint: mend the file by hand, or remove the machine with `berth rm --force NAME`

# cut off in a word
$ berth start web1
exit 1
berth: WORLD/b/machines/web1/machine.toml cannot be read: TOML parse error at line 2, column 4   | 2 | id    |    ^ key with no value, expected `=`
hint: mend the file by hand, or remove the machine with `berth rm --force NAME`

$ berth rm -y web1
exit 1
berth: WORLD/b/machines/web1/machine.toml cannot be read: TOML parse error at line 2, column 4   | 2 | id    |    ^ key with no value, expected `=`
hint: mend the file by hand, or remove the machine with `berth rm --force NAME`

# of a later berth
$ berth start web1
exit 1
berth: WORLD/b/machines/web1/machine.toml has version 99; this berth knows versions up to 1
hint: use the later berth, or upgrade this one

$ berth rm -y web1
exit 1
berth: WORLD/b/machines/web1/machine.toml has version 99; this berth knows versions up to 1
hint: use the later berth, or upgrade this one

# no text
$ berth start web1
exit 1
berth: WORLD/b/machines/web1/machine.toml cannot be read: TOML parse error at line 1, column 4   | 1 |    |    ^ key with no value, expected `=`
hint: mend the file by hand, or remove the machine with `berth rm --force NAME`

$ berth rm -y web1
exit 1
berth: WORLD/b/machines/web1/machine.toml cannot be read: TOML parse error at line 1, column 4   | 1 |    |    ^ key with no value, expected `=`
hint: mend the file by hand, or remove the machine with `berth rm --force NAME`

# another kind
$ berth start web1
exit 1
berth: WORLD/b/machines/web1/machine.toml cannot be read: invalid type: sequence, expected a string in `name`
hint: mend the file by hand, or remove the machine with `berth rm --force NAME`

$ berth rm -y web1
exit 1
berth: WORLD/b/machines/web1/machine.toml cannot be read: invalid type: sequence, expected a string in `name`
hint: mend the file by hand, or remove the machine with `berth rm --force NAME`


"##]]
    );
    // A journal of nonsense hides nothing and stops nothing.
    fs::write(&path, &good).unwrap();
    fs::write(
        world.file("web1", "journal"),
        [0xff, 0xfe, b'\n', b'{', b'\n'],
    )
    .unwrap();
    assert_eq!(world.state("web1"), "stopped");
    world.berth(&["start", "web1"]).ok();
    // Even what cannot be read can be removed, with its process and its port.
    fs::write(&path, &good[..good.find("cpus").unwrap() + 3]).unwrap();
    world
        .berth(&["rm", "-f", "web1"])
        .ok()
        .says("its files are removed");
    assert!(!path.exists());
}

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
fn apart(world: &World, script: &str) -> support::Ran {
    let script = format!(
        "set -eu; berth() {{ {} \"$@\"; }}\n{script}",
        support::BERTH
    );
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
            support::BERTH
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
