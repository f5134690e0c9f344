//! What a command is given: its input, its words, its variables and its folder.

use std::fs;

use serde_json::Value;

use crate::world;

#[test]
fn every_machine_reads_the_same_input() {
    let world = world(&["web1", "web2", "web3"]);
    let input: Vec<u8> = (0..3_000_000u32).map(|n| (n * 31 % 251) as u8).collect();
    let ran = world.berth_reading(&["exec", "--all", "-i", "--", "sha256sum"], &input);
    let printed = String::from_utf8(ran.stdout).unwrap();
    fs::write(world.path("input"), &input).unwrap();
    let sum = world.finish(
        world
            .program("sha256sum")
            .stdin(fs::File::open(world.path("input")).unwrap()),
    );
    assert_eq!(printed, format!("== web[1-3] (3) ==\n{}", sum.stdout));
    // A command that does not read it is no failure, and one without -i reads nothing.
    let ran = world.berth_reading(&["exec", "--all", "-i", "--", "true"], &input);
    assert!(ran.status.success(), "{ran:?}");
    let ran = world.berth_reading(&["exec", "web1", "--", "wc", "-c"], &input);
    assert_eq!(ran.stdout, b"== web1 (1) ==\n0\n");
}

#[test]
fn words_variables_and_folders_arrive_unchanged() {
    let world = world(&["web1"]);
    let words = [
        "a b", "it's", "*", "$HOME", "`id`", "\\n", "a\nb", "", ";", "-n", "--", "ü",
    ];
    let out = |args: &[&str]| {
        let ran = world
            .berth(&[&["exec", "web1", "--json"], args].concat())
            .ok();
        let records: Value = serde_json::from_str(&ran.stdout).unwrap();
        records[0]["stdout"].as_str().unwrap().to_owned()
    };
    let command = [&["--", "printf", "%s|"], &words[..]].concat();
    // Root's login needs no sudo, which may not be there at all.
    let sudo = match nix::unistd::geteuid().is_root() {
        true => &["--sudo"][..],
        false => &[],
    };
    let expected: String = words.iter().map(|word| format!("{word}|")).collect();
    let folder = world.path("a folder");
    fs::create_dir(&folder).unwrap();
    let folder = folder.display().to_string();
    for options in [
        &[][..],
        sudo,
        &["-e", "A=x y"],
        &["--cd", &folder],
        &[sudo, &["-e", "A=1", "--cd", "/"]].concat(),
    ] {
        assert_eq!(out(&[options, &command].concat()), expected, "{options:?}");
    }
    let script = "printf '%s %s %s' \"$A\" \"$B\" \"$PWD\"";
    let args = [
        "-e",
        "A=it's $HOME",
        "-e",
        "B==",
        "--cd",
        &folder,
        "--",
        script,
    ];
    assert_eq!(out(&args), format!("it's $HOME = {folder}"));
    let ran = world
        .berth(&["exec", "web1", "--cd", "/nowhere", "--", "echo", "no"])
        .code(5);
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
}
