//! Machines that cannot be made so.

use std::fs;

use snapbox::{assert_data_eq, str};

use crate::{table, world};

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
