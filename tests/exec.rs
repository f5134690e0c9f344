//! `berth exec`: one command on many machines, and what is told of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use snapbox::{assert_data_eq, str};
use support::{Ran, World, eventually};

/// The summary's seconds differ from run to run.
fn told(ran: &Ran) -> String {
    let lines = ran.told();
    let lines = lines.lines().map(|line| match line.rsplit_once(" (") {
        Some((line, time)) if time.ends_with(" s)") => format!("{line} (TIME)\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

fn world(names: &[&str]) -> World {
    let world = World::new();
    world.create(names).ok();
    world
}

/// Waits until no process has `word` among its own.
fn nothing_runs(word: &str) {
    eventually("commands that were cut off end", || {
        let processes = fs::read_dir("/proc").unwrap();
        let mut words = processes
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("cmdline")).ok());
        !words.any(|words| words.contains(word))
    });
}

#[test]
fn identical_output_is_shown_once_under_the_machines_names() {
    let world = world(&["web1", "web2", "web3", "db1"]);
    // Machines of this test are one computer: what tells them apart is the home that each has.
    let script =
        "case $HOME in */db1/*) echo database; exit 3;; *) echo web; echo careful >&2;; esac";
    let ran = world.berth(&["exec", "--all", "--", script]).code(5);
    assert_data_eq!(
        ran.printed(),
        str![[r#"
== db1 (1), exit 3 ==
database
== web[1-3] (3) ==
web

"#]]
    );
    assert_data_eq!(
        told(&ran),
        str![[r#"
exit 5
web[1-3]: careful
berth: 3 ok; 1 exit 3: db1 (TIME)

"#]]
    );
    let ran = world.berth(&["exec", "web*", "--", "true"]).ok();
    assert_eq!(ran.stdout, "", "silence needs no header");
    // A single machine's failure is told by the same code.
    world.berth(&["exec", "db1", "--", "exit 7"]).code(5);
}

#[test]
fn machines_that_are_off_or_hang_are_told_of_and_hold_up_nobody() {
    let world = world(&["web1", "web2", "web3"]);
    world.berth(&["stop", "web1"]).ok();
    let began = Instant::now();
    // A command that is cut off may go on: this one ends when the test says so.
    let over = world.path("over").display().to_string();
    let hang = format!("until [ -e {over} ]; do sleep 0.1; done");
    let script = format!("echo here; case $HOME in */web2/*) {hang};; esac");
    let args = ["exec", "--all", "--timeout", "8", "--", &script];
    let ran = world.berth(&args).code(5);
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_data_eq!(
        ran.printed(),
        str![[r#"
== web2 (1), not ended ==
here
== web3 (1) ==
here

"#]]
    );
    assert_data_eq!(
        told(&ran),
        str![[r#"
exit 5
berth: machine web1 is stopped
hint: `berth start web1` starts it
berth: machine web2: not done within 8 s; what it began may go on there
berth: 1 ok; 1 failed: web1; 1 timed out: web2 (TIME)

"#]]
    );
    // The whole run has its time too, and who has no turn in it is not touched.
    let args = ["exec", "web2", "web3", "--parallel", "1", "--deadline", "6"];
    let script = format!("touch $HOME/begun; {hang}");
    let args = [&args[..], &["--", &script]].concat();
    let ran = world.berth(&args).code(5);
    assert_data_eq!(
        told(&ran),
        str![[r#"
exit 5
berth: machine web2: not done when the run's time was over; what it began may go on there
berth: 1 not begun: web3; 1 timed out: web2 (TIME)

"#]]
    );
    assert!(world.file("web2", "vm/begun").exists());
    assert!(!world.file("web3", "vm/begun").exists());
    fs::write(&over, "").unwrap();
    nothing_runs(&over);
}

#[test]
fn forty_machines_at_once() {
    let names: Vec<String> = (1..=40).map(|at| format!("m{at:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = world(&names);
    let ran = world.berth(&["exec", "m*", "--", "echo", "hello"]).ok();
    assert_eq!(ran.stdout, "== m[01-40] (40) ==\nhello\n");
    assert!(ran.stderr.starts_with("berth: 40 ok ("), "{ran:?}");
    // All at once: each waits until the last one has begun.
    let meeting = world.path("meeting");
    fs::create_dir(&meeting).unwrap();
    let wait = "touch \"$0/$$\"; until [ $(ls \"$0\" | wc -l) -ge 40 ]; do sleep 0.2; done";
    let folder = meeting.display().to_string();
    let args = ["exec", "--all", "--parallel", "40", "--timeout", "60"];
    let args = [&args[..], &["--", "sh", "-c", wait, &folder]].concat();
    world.berth(&args).ok();
}

#[test]
fn json_has_a_record_a_machine() {
    let world = world(&["web1", "web2"]);
    world.berth(&["stop", "web2"]).ok();
    let script = "printf 'a\\033[1m\\377\"'; echo no >&2; exit 4";
    let ran = world
        .berth(&["exec", "--all", "--json", "--", script])
        .code(5);
    let records: Value = serde_json::from_str(&ran.stdout).unwrap();
    let records = records.as_array().unwrap();
    assert!(records[0]["duration"].as_f64().unwrap() > 0.0);
    let fields: Vec<&String> = records[0].as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "name", "changed", "rc", "duration", "stdout", "stderr", "error"
        ]
    );
    assert_eq!(records[0]["rc"], 4);
    assert_eq!(records[0]["stdout"], "a\u{1b}[1m\u{fffd}\"");
    assert_eq!(records[0]["stderr"], "no\n");
    assert_eq!(records[0]["error"], Value::Null);
    assert_eq!(records[1]["name"], "web2");
    assert_eq!(records[1]["rc"], Value::Null);
    assert_eq!(records[1]["error"], "machine web2 is stopped");
}

#[test]
fn lines_come_as_they_are_written() {
    let world = world(&["web1", "web2"]);
    let gate = world.path("gate");
    let script = "echo one; echo oops >&2; until [ -e \"$0\" ]; do sleep 0.1; done; printf end";
    let gate_path = gate.display().to_string();
    let args = [
        "exec", "--all", "--stream", "--", "sh", "-c", script, &gate_path,
    ];
    let out = world.path("out");
    let mut child = world
        .command(&args)
        .stdout(fs::File::create(&out).unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = || {
        let text = fs::read_to_string(&out).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    eventually("the first lines are there", || {
        lines() == ["web1: one", "web2: one"]
    });
    assert!(child.try_wait().unwrap().is_none(), "it still runs");
    fs::write(&gate, "").unwrap();
    let ran = world.wait(child).ok();
    assert_eq!(
        lines(),
        ["web1: end", "web1: one", "web2: end", "web2: one"]
    );
    assert!(ran.stderr.contains("web1: oops\n") && ran.stderr.contains("web2: oops\n"));
}

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

/// The most memory that a process has had, in MiB.
fn peak(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

#[test]
fn a_gigabyte_of_output_is_no_gigabyte_of_memory() {
    let world = world(&["web1", "web2"]);
    let script = "case $HOME in */web1/*) head -c 1073741824 /dev/zero;; *) echo little;; esac";
    let mut child = world
        .command(&["exec", "--all", "--", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let reading =
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()).unwrap());
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = most.max(peak(&child).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(20));
    }
    let ran = world.wait(child).ok();
    assert!(ran.stderr.contains("berth: 2 ok"), "{ran:?}");
    let header = "== web1 (1) ==\n\n== web2 (1) ==\nlittle\n".len() as u64;
    assert_eq!(reading.join().unwrap(), (1 << 30) + header);
    println!("peak memory {most} MiB");
    assert!(most > 0 && most < 100, "peak memory {most} MiB");
}

#[test]
fn ctrl_c_finishes_what_runs_and_begins_no_more() {
    let world = world(&["web1", "web2"]);
    let gate = world.path("gate").display().to_string();
    let script = "touch \"$HOME/begun\"; until [ -e \"$0\" ]; do sleep 0.1; done; echo done";
    let args = [
        "exec",
        "--all",
        "--parallel",
        "1",
        "--",
        "sh",
        "-c",
        script,
        &gate,
    ];
    let begun = |name: &str| world.file(name, "vm/begun").exists();

    let err = world.path("err");
    let interrupted = || {
        let mut child = world.command(&args);
        let stderr = fs::File::create(&err).unwrap();
        let child = child.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        eventually("the first machine's turn", || begun("web1"));
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
        eventually("Ctrl-C is heard", || {
            fs::read_to_string(&err).unwrap().contains("Ctrl-C again")
        });
        child
    };
    let wait = |child: Child| {
        let mut ran = world.wait(child).code(130);
        ran.stderr = fs::read_to_string(&err).unwrap();
        ran
    };

    let child = interrupted();
    fs::write(&gate, "").unwrap();
    let ran = wait(child);
    assert_eq!(ran.stdout, "== web1 (1) ==\ndone\n");
    assert_data_eq!(
        told(&ran),
        str![[r#"
exit 130
berth: what runs is finished first; Ctrl-C again ends it now
berth: 1 ok; 1 not begun: web2 (TIME)

"#]]
    );
    assert!(!begun("web2"));

    fs::remove_file(&gate).unwrap();
    fs::remove_file(world.file("web1", "vm/begun")).unwrap();
    let child = interrupted();
    let began = Instant::now();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let ran = wait(child);
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(
        ran.stderr
            .contains("1 interrupted: web1; 1 not begun: web2"),
        "{ran:?}"
    );
    fs::write(&gate, "").unwrap();
    nothing_runs(&gate);
}

#[test]
fn machines_are_selected_by_what_they_are() {
    let world = World::new();
    world.create(&["web1", "web2", "-l", "role=web"]).ok();
    world
        .create(&["db1", "-l", "role=db", "-l", "tier=back"])
        .ok();
    world.berth(&["stop", "web2"]).ok();
    let picked = |args: &[&str]| {
        let ran = world.berth(&[&["ls", "-q"], args].concat()).ok();
        ran.stdout.lines().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(picked(&["web*"]), "web1 web2");
    assert_eq!(picked(&["*1", "web?"]), "db1 web1 web2");
    assert_eq!(picked(&["-l", "role!=db"]), "web1 web2");
    assert_eq!(picked(&["-l", "tier!=back", "--state", "running"]), "web1");
    assert_eq!(picked(&["-l", "tier"]), "db1");
    assert_eq!(
        picked(&["*", "-l", "role=web", "--driver", "sshd"]),
        "web1 web2"
    );
    let on = |args: &[&str]| {
        let args = [&["exec"], args, &["--", "echo", "x"]].concat();
        world.berth(&args).stdout
    };
    assert_eq!(on(&["--state", "running"]), "== db1,web1 (2) ==\nx\n");
    assert_eq!(
        on(&["web1", "web*", "-l", "role!=db", "--state", "running"]),
        "== web1 (1) ==\nx\n"
    );
    world.berth(&["start", "w*2"]).ok();
    assert_eq!(on(&["--all"]), "== db1,web[1-2] (3) ==\nx\n");
    world.berth(&["rm", "-f", "web*"]).ok();
    assert_eq!(picked(&[]), "db1");
}

#[test]
fn labels_are_set_shown_and_removed() {
    let world = world(&["web1", "web2"]);
    let labels = |name: &str| world.row(name)["labels"].to_string();
    let ran = world.berth(&["label", "web*", "role=web", "tier=a=b"]).ok();
    assert_eq!(ran.stdout, "web1\nweb2\n");
    assert_eq!(labels("web2"), r#"{"role":"web","tier":"a=b"}"#);
    world.berth(&["label", "web2", "tier-", "role="]).ok();
    assert_data_eq!(
        world.berth(&["label", "--all"]).ok().printed(),
        str![[r#"
NAME   LABELS
web1   role=web,tier=a=b
web2   role=

"#]]
    );
    let ran = world
        .berth(&["label", "-l", "tier", "tier=c", "--json"])
        .ok();
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    let expected = serde_json::json!([
        {"name": "web1", "labels": {"role": "web", "tier": "c"}, "changed": true}
    ]);
    assert_eq!(told, expected);
    let before = world.snapshot();
    world.berth(&["label", "web1", "tier=c", "gone-"]).ok();
    world.is_as_it_was(&before, "nothing was to change");
}

#[test]
fn files_go_to_many_and_come_from_many() {
    let world = World::new();
    world.create(&["web1", "web2", "-l", "role=web"]).ok();
    world.create(&["db1"]).ok();
    fs::create_dir_all(world.path("site/deep")).unwrap();
    fs::write(world.path("site/deep/page"), "hello").unwrap();
    let folder = |name: &str| world.file(name, "vm/srv");
    for name in ["web1", "web2", "db1"] {
        fs::create_dir(folder(name)).unwrap();
    }
    let script = "cd $HOME/srv && echo $HOME > own";
    world.berth(&["exec", "--all", "--", script]).ok();

    let target = world.path("shared");
    fs::create_dir(&target).unwrap();
    let there = format!("web*:{}", target.display());
    let ran = world.berth(&["cp", "--parallel", "1", "site", &there]).ok();
    assert_eq!(ran.stdout, "web1\nweb2\n");
    assert!(ran.stderr.contains("berth: 2 ok ("), "{ran:?}");
    let page = fs::read_to_string(target.join("site/deep/page")).unwrap();
    assert_eq!(page, "hello");

    let from = format!(":{}", target.join("site").display());
    let ran = world
        .berth(&["cp", "-l", "role=web", &from, "collected"])
        .ok();
    assert_eq!(ran.stdout, "web1\nweb2\n");
    for name in ["web1", "web2"] {
        let page = world.path(format!("collected/{name}/site/deep/page"));
        assert_eq!(fs::read_to_string(page).unwrap(), "hello");
    }

    // One that is off fails alone, and one that has no such file too.
    world.berth(&["stop", "web1"]).ok();
    let own = format!("{}/own", folder("web2").display());
    fs::remove_file(&own).unwrap();
    let ran = world
        .berth(&["cp", "--all", &format!(":{own}"), "own"])
        .code(5);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("machine web1 is stopped"), "{ran:?}");
    assert!(ran.stderr.contains("db1: tar:"), "{ran:?}");
    assert!(
        ran.stderr.contains("berth: 3 failed: db1,web[1-2] ("),
        "{ran:?}"
    );
    let own = format!("{}/own", folder("db1").display());
    let ran = world
        .berth(&["cp", "--all", &format!(":{own}"), "own"])
        .code(5);
    assert_eq!(ran.stdout, "db1\nweb2\n");
    assert!(
        ran.stderr.contains("berth: 2 ok; 1 failed: web1 ("),
        "{ran:?}"
    );

    // What is wrong for all is said once.
    let ran = world.berth(&["cp", "gone", "*:/tmp/x"]).code(1);
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    world.berth(&["cp", "--all", ":/", "own"]).code(2);
    // One machine by its name has its time too.
    let remote = format!("db1:{}", folder("db1").display());
    world
        .berth(&["cp", "--timeout", "0.001", "site", &remote])
        .code(1)
        .says("not copied within 0.001 s");

    world
        .berth(&["cp", "site", ":/tmp/x"])
        .code(2)
        .says("name a machine");
    world.berth(&["cp", "site", "x*:/tmp/x"]).code(3);
    world
        .berth(&["cp", "-l", "role=none", "site", ":/tmp/x"])
        .code(2);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let world = world(&["web1"]);
    let before = world.snapshot();
    let mut all = String::new();
    for args in [
        &["exec", "--", "true"][..],
        &["exec", "web1"],
        &["exec", "web1", "--all", "--", "true"],
        &["exec", "db*", "--", "true"],
        &["exec", "web[12]", "--", "true"],
        &["exec", "-l", "role=db", "--", "true"],
        &["exec", "-l", "=db", "--", "true"],
        &["exec", "web1", "--parallel", "0", "--", "true"],
        &["exec", "web1", "--timeout", "soon", "--", "true"],
        &["exec", "web1", "--deadline", "-1", "--", "true"],
        &["exec", "web1", "-e", "A B=c", "--", "true"],
        &["exec", "web1", "--cd", "", "--", "true"],
        &["label", "role=web"],
        &["label", "web1", "=x"],
        &["label", "web1", "-"],
        &["label", "web1", "a!=x"],
        &["label", "web2", "a=x"],
    ] {
        let ran = world.berth(args);
        let told = ran.told();
        // What follows clap's first words is its usage.
        let told: Vec<&str> = told.lines().take(2).collect();
        all += &format!("$ berth {}\n{}\n", args.join(" "), told.join("\n"));
        world.is_as_it_was(&before, &args.join(" "));
    }
    assert_data_eq!(
        all,
        str![[r#"
$ berth exec -- true
exit 2
berth: name a machine, select some with -l, --driver or --state, or say --all
$ berth exec web1
exit 2
error: the following required arguments were not provided:
$ berth exec web1 --all -- true
exit 2
berth: --all: some machines are named as well: it is either
$ berth exec db* -- true
exit 3
berth: there is no machine db*
$ berth exec web[12] -- true
exit 3
berth: there is no machine web[12]
$ berth exec -l role=db -- true
exit 2
berth: the selection: no machine matches it
$ berth exec -l =db -- true
exit 2
error: invalid value '=db' for '--label <KEY=VALUE>': write KEY=VALUE, KEY!=VALUE or KEY
$ berth exec web1 --parallel 0 -- true
exit 2
error: invalid value '0' for '--parallel <N>': 0 is not in 1..=4096
$ berth exec web1 --timeout soon -- true
exit 2
error: invalid value 'soon' for '--timeout <SECONDS>': write seconds, such as 30 or 0.5
$ berth exec web1 --deadline -1 -- true
exit 2
error: unexpected argument '-1' found
$ berth exec web1 -e A B=c -- true
exit 2
error: invalid value 'A B=c' for '--env <NAME=VALUE>': write NAME=VALUE, NAME of letters, digits and _
$ berth exec web1 --cd  -- true
exit 2
error: a value is required for '--cd <DIR>' but none was supplied
$ berth label role=web
exit 2
berth: name a machine, select some with -l, --driver or --state, or say --all
$ berth label web1 =x
exit 2
berth: label: "" is not a label's name
$ berth label web1 -
exit 2
berth: label: "-" is neither KEY=VALUE nor KEY-
$ berth label web1 a!=x
exit 2
berth: label: "a!" is not a label's name
$ berth label web2 a=x
exit 3
berth: there is no machine web2

"#]]
    );
}
