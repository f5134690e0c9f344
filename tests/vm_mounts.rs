//! Folders of this computer in real machines: by virtiofs under QEMU, over SSH under User Mode Linux.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod vm;

use std::fs;

use serde_json::Value;
use vm::{ANSWER, BOOT, Host, eventually, image};

/// Files that each side writes.
const FILES: u32 = 500;

/// Writes a tree of every kind of file into the folder `$1`, `$2` of them.
const MAKE: &str = r#"
set -eu; mkdir -p "$1"; cd "$1"; umask 022
block=$(printf 'x%.0s' {1..4096}); i=0
while [ $i -lt "$2" ]; do
  f="d$((i % 7))/e$((i % 3))/file$i"; [ $((i % 50)) != 3 ] || f="d0/$(printf 'deep/%.0s' {1..40})$i"
  mkdir -p "${f%/*}"
  case $((i % 12)) in
    0) : >"$f" ;;
    1) printf 'content of %s' $i >"$f" ;;
    2) n=0; while [ $n -lt 64 ]; do printf '%s %s\n' $n "$block"; n=$((n+1)); done >"$f" ;;
    3) printf 'deep' >"$f" ;;
    4) printf o >"${f%/*}/ödd näme 雪 $i"; printf o >"${f%/*}/new"$'\n'"line $i"
       printf o >"${f%/*}/-dash \"quo'te\" \\ $i"; printf o >"${f%/*}/"$'by\xfe\xfftes'"$i" ;;
    5) printf m >"$f"; case $((i % 5)) in 0) chmod 600 "$f";; 1) chmod 755 "$f";; 2) chmod 444 "$f";; *) chmod 777 "$f";; esac ;;
    6) ln -s "../target $i" "$f" ;;
    7) ln -s /nowhere/at/all "$f" ;;
    8) printf 'two names' >"$f"; ln "$f" "$f.link" ;;
    9) truncate -s 5000000 "$f"; printf end >>"$f" ;;
    10) printf 'first words' >"$f.old"; mv "$f.old" "$f"; printf ' and more' >>"$f" ;;
    11) printf 'much too long' >"$f"; truncate -s 4 "$f"; touch -d @$((1000000000 + i)) "$f" ;;
  esac
  i=$((i+1))
done
"#;

/// Prints the tree in the folder `$1`: kind, mode, size, time where it was set, what links say, and all content.
const LIST: &str = r#"
set -eu; export LC_ALL=C; cd "$1"
find . -mindepth 1 \( -type d -printf 'd %m %p\0' -o -type l -printf 'l %l %p\0' -o -type f -printf 'f %m %s %p\0' \) | sort -z | tr '\n\0' '?\n'
find . -type f ! -newermt @1100000000 -printf '%Ts %p\n' | sort
find . -type f -print0 | sort -z | xargs -0 sha256sum
find . -mindepth 1 | wc -l
"#;

fn story(host: &Host, by: &str) {
    let folder = host.scratch().join("work");
    fs::create_dir(&folder).unwrap();
    fs::create_dir(host.scratch().join("fixed")).unwrap();
    fs::write(host.scratch().join("fixed/file"), "fixed").unwrap();
    fs::write(folder.join("hello"), "hello\n").unwrap();
    for (name, script) in [("make", MAKE), ("list", LIST)] {
        fs::write(folder.join(name), script).unwrap();
    }
    let made = host
        .berth("create web1 --memory 512M --timings --mount work:/srv/work --mount fixed:/srv/fixed:ro --image")
        .arg(image("debian-13-docker"))
        .deadline(BOOT)
        .ok();
    println!("{}", made.stderr);
    is_mounted(host, by);
    both_sides_write_and_see_the_same(host);
    containers_see_it(host);

    host.berth("restart web1").deadline(BOOT).ok();
    is_mounted(host, by);
    assert_eq!(seen(host), "hello\n");
    the_guest_reboots(host);

    what_may_only_be_read_is_not_changed(host);
    host.berth("mount rm web1 /srv/work").deadline(ANSWER).ok();
    let left = host.inside(
        "web1",
        "grep -c ' /srv/work ' /proc/mounts; ls /srv/work | wc -l",
    );
    assert_eq!(left.text(), "0\n0");
    assert_eq!(fs::read_to_string(folder.join("hello")).unwrap(), "hello\n");
    host.berth("kill web1").ok();
    host.berth("rm --yes web1").ok();
    vm::assert_nothing_left(host);
}

/// How the machine's mounts are, by `berth mount ls`.
fn rows(host: &Host) -> Value {
    let listed = host.berth("mount ls web1 --json").ok().stdout;
    serde_json::from_str(&listed).unwrap()
}

fn is_mounted(host: &Host, by: &str) {
    let rows = rows(host);
    for at in [0, 1] {
        assert_eq!(rows[at]["transport"], by, "{rows:#}");
    }
}

fn seen(host: &Host) -> String {
    host.inside("web1", "cat /srv/work/hello").ok().stdout
}

fn both_sides_write_and_see_the_same(host: &Host) {
    host.shell(&format!("bash work/make work/ours {FILES}"))
        .ok();
    let theirs = format!("cd /srv/work && bash make theirs {FILES}");
    let written = host.inside("web1", &theirs).deadline(BOOT).ok();
    println!(
        "{FILES} files of every kind written in the machine in {:.1?}",
        written.took
    );
    for tree in ["ours", "theirs"] {
        let here = host.shell(&format!("bash work/list work/{tree}")).text();
        let there = format!("cd /srv/work && bash list {tree}");
        let there = host.inside("web1", &there).deadline(BOOT).text();
        let differ = here
            .lines()
            .zip(there.lines())
            .find(|(one, two)| one != two);
        assert!(here == there, "{tree}: here and there: {differ:#?}");
        let count: u32 = here.lines().next_back().unwrap().parse().unwrap();
        assert!(count > FILES, "{count}");
    }
    let ours = host.shell("bash work/list work/ours").text();
    assert_eq!(ours, host.shell("bash work/list work/theirs").text());
    // What was not written takes no room on either side.
    let blocks = host.shell("find work -name file9 -printf '%b\n'").text();
    let blocks: Vec<u32> = blocks.lines().map(|line| line.parse().unwrap()).collect();
    assert!(
        blocks.len() == 2 && blocks.iter().all(|blocks| *blocks < 100),
        "{blocks:?}"
    );
    let removed = host
        .inside("web1", "rm -r /srv/work/theirs /srv/work/ours")
        .deadline(BOOT);
    removed.ok();
    assert_eq!(host.shell("ls work").text(), "hello\nlist\nmake");
}

fn containers_see_it(host: &Host) {
    host.shell(
        "mkdir bbox && cp /bin/busybox bbox/ && tar -C bbox -c . | docker --context web1 import - bbox",
    )
    .ok();
    let run = |line: &str| {
        let words = "--context web1 run --rm --volume /srv/work:/x bbox /busybox sh -c";
        host.docker(words).arg(line).deadline(BOOT)
    };
    let line = "/busybox cat /x/hello; echo made >/x/made";
    assert_eq!(run(line).text(), "hello");
    assert_eq!(host.shell("cat work/made; rm work/made").text(), "made");
}

fn the_guest_reboots(host: &Host) {
    let boot = || {
        host.inside("web1", "cat /proc/sys/kernel/random/boot_id")
            .run()
    };
    let before = boot().stdout;
    let _ = host.inside("web1", "systemctl reboot").run();
    eventually("the machine is up again", BOOT, || {
        let now = boot();
        (now.code == 0 && now.stdout != before).then_some(())
    });
    eventually("the folder is there again", ANSWER, || {
        let hello = host.inside("web1", "cat /srv/work/hello").run().stdout;
        (hello == "hello\n").then_some(())
    });
}

fn what_may_only_be_read_is_not_changed(host: &Host) {
    // Also not by a guest that takes the kernel's own guard away.
    let remount = "mount -o remount,rw /srv/fixed 2>/dev/null";
    for change in [
        "touch /srv/fixed/x",
        "echo x >/srv/fixed/file",
        "rm /srv/fixed/file",
        "chmod 777 /srv/fixed/file",
    ] {
        let refused = host.inside("web1", &format!("{remount}; {change}")).run();
        assert_ne!(refused.code, 0, "{change}");
    }
    assert_eq!(host.inside("web1", "cat /srv/fixed/file").text(), "fixed");
    assert_eq!(host.shell("ls fixed; cat fixed/file").text(), "file\nfixed");
    host.berth("mount rm web1 /srv/fixed").deadline(ANSWER).ok();
}

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn a_folder_comes_over_ssh() {
    story(&Host::with("uml"), "sshfs");
}

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn a_folder_comes_by_virtiofs() {
    story(&Host::with("qemu"), "virtiofs");
}
