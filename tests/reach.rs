//! `berth ssh` and `berth cp`: what goes into a machine and what comes back, unchanged.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::World;

fn world() -> World {
    let world = World::new();
    world.create(&["m1"]).ok();
    world
}

#[test]
fn every_exit_code_is_passed_on() {
    let world = world();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let world = &world;
            scope.spawn(move || {
                // 255 is ssh's own too: the command's is told apart by what it printed.
                for code in (worker..=255).step_by(4).filter(|c| c % 32 < 4 || *c > 250) {
                    let script = format!("exit {code}");
                    let ran = world.berth(&["ssh", "m1", "--", "sh", "-c", &script]);
                    assert_eq!((ran.code, &*ran.stderr), (code, ""), "{ran:?}");
                }
            });
        }
    });
    world
        .berth(&["ssh", "m1", "--", "sh", "-c", "kill -9 $$"])
        .code(255);
    world.berth(&["ssh", "nobody", "--", "true"]).code(3);
}

#[test]
fn the_three_streams_are_clean_and_separate() {
    let world = world();
    let input: Vec<u8> = (0..500_000u32).map(|n| (n * 31 % 256) as u8).collect();
    let ran = world.berth_reading(&["ssh", "m1", "--", "cat"], &input);
    assert!(ran.status.success());
    assert!(ran.stdout == input, "every byte comes back");
    assert_eq!(ran.stderr, b"");
    let ran = world
        .berth(&["ssh", "m1", "--", "echo out; echo err >&2"])
        .ok();
    assert_eq!((&*ran.stdout, &*ran.stderr), ("out\n", "err\n"));
    // A machine's own words do not become berth's.
    let ran = world
        .berth(&["ssh", "m1", "--", "no-such-program"])
        .code(127);
    assert!(!ran.stderr.contains("hint"), "{ran:?}");
}

#[test]
fn words_reach_the_command_unchanged() {
    let world = world();
    let words = [
        "a b",
        "it's",
        "\"q\"",
        "*",
        "?",
        "~",
        "$HOME",
        "`id`",
        "\\",
        "\\n",
        "a\nb",
        "",
        ";",
        "&&",
        "#x",
        "!h",
        "-n",
        "--",
        "{a,b}",
        "<(x)",
        "ünïcödé",
        "\t",
        "tail ",
    ];
    let mut args = vec!["ssh", "m1", "--", "printf", "%s\\0"];
    args.extend(words);
    let ran = world.berth(&args).ok();
    let mut back: Vec<&str> = ran.stdout.split('\0').collect();
    back.pop();
    assert_eq!(back, words);
    // A single word is a line for the remote shell, as with ssh itself.
    assert_eq!(
        world
            .berth(&["ssh", "m1", "--", "echo $((6 * 7)) | cat"])
            .ok()
            .stdout,
        "42\n"
    );
}

fn noise(length: usize) -> Vec<u8> {
    let mut seed = 1u64;
    let next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A folder with everything that can go wrong in one.
fn odd_tree(root: &Path) {
    fs::create_dir_all(root.join("sub/deep/er")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::create_dir(root.join("private")).unwrap();
    let noise = noise(300_000);
    for (name, mode, content) in [
        ("plain", 0o644, b"text\n".as_slice()),
        ("run.sh", 0o755, b"#!/bin/sh\n"),
        ("secret", 0o600, b"s"),
        ("readonly", 0o444, b"r"),
        ("nothing", 0o640, b""),
        ("sub/deep/er/noise", 0o644, &noise),
        ("with space", 0o644, b"1"),
        ("-dash", 0o644, b"2"),
        ("quote'\"$(x)`", 0o644, b"3"),
        ("new\nline", 0o644, b"4"),
        ("*", 0o644, b"5"),
        ("ünï", 0o644, b"6"),
        (":colon", 0o644, b"7"),
    ] {
        fs::write(root.join(name), content).unwrap();
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::write(root.join(OsStr::from_bytes(b"latin-\xe9")), b"8").unwrap();
    fs::set_permissions(root.join("private"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("plain", root.join("link")).unwrap();
    symlink("sub", root.join("folder-link")).unwrap();
    symlink("nowhere/at/all", root.join("dangling")).unwrap();
    symlink("/etc/passwd", root.join("absolute")).unwrap();
}

/// What a tree is: kind, mode and content of every entry.
fn description(root: &Path) -> BTreeMap<Vec<u8>, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_symlink() {
            fs::read_link(&path)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec()
        } else if meta.is_dir() {
            todo.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            Vec::new()
        } else {
            fs::read(&path).unwrap()
        };
        let relative = path
            .strip_prefix(root)
            .unwrap()
            .as_os_str()
            .as_bytes()
            .to_vec();
        found.insert(relative, (meta.permissions().mode(), content));
    }
    found
}

/// What a copy that breaks off must not leave: anything.
fn drafts(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().starts_with(".berth-cp")
        })
        .count()
}

#[test]
fn a_folder_arrives_as_it_left_both_ways() {
    let world = world();
    let there = world.path("there");
    fs::create_dir(&there).unwrap();
    odd_tree(&world.path("tree"));
    let tree = world.path("tree").display().to_string();
    let remote = |path: &str| format!("m1:{}/{path}", there.display());

    // Into a folder that is there, and under a new name; relative paths too.
    world.berth(&["cp", &tree, &remote("")]).ok();
    world.berth(&["cp", "tree", &remote("renamed")]).ok();
    let original = description(&world.path("tree"));
    assert!(original.len() > 20);
    assert_eq!(description(&there.join("tree")), original);
    assert_eq!(description(&there.join("renamed")), original);

    world.berth(&["cp", &remote("tree"), "back"]).ok();
    assert_eq!(description(&world.path("back")), original);
    fs::create_dir(world.path("box")).unwrap();
    world.berth(&["cp", &remote("renamed/"), "box"]).ok();
    assert_eq!(description(&world.path("box/renamed")), original);
    // Again: the folder takes what is new, and keeps what it had.
    fs::write(there.join("renamed/plain"), "newer\n").unwrap();
    fs::write(world.path("box/renamed/mine"), "kept").unwrap();
    world.berth(&["cp", &remote("renamed"), "box"]).ok();
    assert_eq!(
        fs::read(world.path("box/renamed/plain")).unwrap(),
        b"newer\n"
    );
    assert_eq!(fs::read(world.path("box/renamed/mine")).unwrap(), b"kept");
    assert_eq!(
        drafts(&there) + drafts(&world.path("")) + drafts(&world.path("box")),
        0
    );
}

#[test]
fn files_are_copied_over_files_and_under_odd_names() {
    let world = world();
    let there = world.path("there");
    fs::create_dir(&there).unwrap();
    let remote = |path: &str| format!("m1:{}/{path}", there.display());
    for name in ["plain", "a b", "-x", "it's", "new\nline", "$(id)"] {
        let here = format!("./{name}");
        fs::write(world.path(&here), name).unwrap();
        world.berth(&["cp", &here, &remote(name)]).ok();
        assert_eq!(fs::read_to_string(there.join(name)).unwrap(), name);
        fs::write(there.join(name), "changed").unwrap();
        world.berth(&["cp", &remote(name), &here]).ok();
        assert_eq!(fs::read_to_string(world.path(&here)).unwrap(), "changed");
        world.berth(&["cp", &here, &remote(name)]).ok();
    }
    // A path with a colon is one of this computer's if what is before it is no machine's name.
    fs::write(world.path("x:y"), "colon").unwrap();
    world.berth(&["cp", "./x:y", &remote("colon")]).ok();
    // A file that is a link arrives as one.
    symlink("plain", world.path("link")).unwrap();
    world.berth(&["cp", "link", &remote("link")]).ok();
    assert_eq!(
        fs::read_link(there.join("link")).unwrap(),
        Path::new("plain")
    );
}

#[test]
fn a_large_file_is_identical() {
    let world = world();
    let big = world.path("big");
    let mut file = fs::File::create(&big).unwrap();
    let mut block = noise(1 << 20);
    for number in 0..100u32 {
        block[..4].copy_from_slice(&number.to_le_bytes());
        file.write_all(&block).unwrap();
    }
    drop(file);
    let there = format!("m1:{}", world.path("there").display());
    world.berth(&["cp", "big", &there]).ok();
    same(&world, "big", "there");
    world.berth(&["cp", &there, "back"]).ok();
    same(&world, "big", "back");
}

fn same(world: &World, one: &str, two: &str) {
    world.finish(world.program("cmp").args([one, two])).ok();
}

#[test]
fn a_copy_that_fails_says_so_and_leaves_no_half() {
    let world = world();
    let there = world.path("there");
    fs::create_dir(&there).unwrap();
    fs::write(there.join("file"), "old").unwrap();
    odd_tree(&world.path("tree"));
    let remote = |path: &str| format!("m1:{}/{path}", there.display());
    let fails = |args: [&str; 2], code: i32| world.berth(&[&["cp"], &args[..]].concat()).code(code);

    fails(["missing", &remote("x")], 1).says("missing");
    fails([&remote("missing"), "x"], 1).says("missing");
    fails(["tree", &remote("no/such/folder")], 1);
    fails([&remote("file"), "no/such/folder"], 1).says("no/such");
    fails(["tree", "copy"], 2).says("NAME:PATH");
    fails(["m1:a", "m1:b"], 2).says("NAME:PATH");
    fails(["tree", "nobody:/tmp/x"], 3).says("nobody");
    fails(["tree", &remote("new/")], 1).says("is not a folder");
    // A folder does not replace a file.
    fails(["tree", &remote("file")], 1);
    assert_eq!(fs::read_to_string(there.join("file")).unwrap(), "old");
    fs::write(world.path("here"), "old").unwrap();
    fails(["m1:/etc/init.d", "here"], 1);
    assert_eq!(fs::read_to_string(world.path("here")).unwrap(), "old");

    let entries: Vec<_> = fs::read_dir(&there)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(entries, ["file"]);
    assert!(!world.path("x").exists());
    assert_eq!(drafts(&world.path("")), 0);
}

#[test]
fn a_copy_that_is_interrupted_leaves_no_half() {
    let world = world();
    let there = world.path("there");
    fs::create_dir(&there).unwrap();
    // Many small files: the archive can be cut off between two of them and look whole.
    fs::create_dir(world.path("big")).unwrap();
    for number in 0..20_000 {
        fs::hard_link(small(&world), world.path(format!("big/{number}"))).unwrap();
    }
    let there_big = format!("m1:{}/big", there.display());
    let busy = |folder: &Path| {
        let draft = fs::read_dir(folder).unwrap().find_map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name();
            name.to_string_lossy()
                .starts_with(".berth-cp")
                .then(|| entry.path())
        });
        draft.is_some_and(|draft| description(&draft).len() > 50)
    };
    for (source, destination, folder) in [
        ("big", &*there_big, there.clone()),
        (&*there_big, "back", world.path("")),
    ] {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let copy = world.background(&["cp", source, destination]);
            support::eventually("the copy is under way", || busy(&folder));
            kill(Pid::from_raw(copy.id() as i32), signal).unwrap();
            world.wait(copy).code(130);
            support::eventually("it is cleared up", || drafts(&folder) == 0);
            assert!(!there.join("big").exists() || source != "big");
            assert!(!world.path("back").exists());
        }
        if source == "big" {
            world.berth(&["cp", source, destination]).ok();
        }
    }
}

fn small(world: &World) -> std::path::PathBuf {
    let path = world.path("small");
    if !path.exists() {
        fs::write(&path, "small").unwrap();
    }
    path
}
