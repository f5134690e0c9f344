//! Records that cannot be read.

use std::fs;

use snapbox::{assert_data_eq, str};

use crate::support::{World, eventually};
use crate::{table, world};

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
    fs::write(&path, [0, 1, 2]).unwrap();
    removed_whole(&world, "web1");
    // One that an earlier berth made, of whose record something is left.
    let path = world.file("good", "machine.toml");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, &good[..good.find("cpus").unwrap() + 3]).unwrap();
    fs::remove_file(world.file("good", "origin")).unwrap();
    removed_whole(&world, "good");
}

fn removed_whole(world: &World, name: &str) {
    let pid = world.machine_pid(name);
    let folder = world.file(name, ".");
    world
        .berth(&["rm", "-f", name])
        .ok()
        .says("its files are removed");
    assert!(!folder.exists());
    eventually("its process has ended", || {
        // A zombie has no command line.
        let line = fs::read(format!("/proc/{pid}/cmdline"));
        line.unwrap_or_default().is_empty()
    });
}
