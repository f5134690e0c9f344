//! A fleet file: planned, applied, changed, and found again in the machines.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use snapbox::{assert_data_eq, str};
use support::{Ran, World, engine};

/// What all of these machines are: processes, without an engine.
const DEFAULTS: &str = "fleet = 'prod'\n[defaults]\ndriver = 'sshd'\nimage = './tiny.qcow2'\nengine = 'none'\nmemory = '64M'\n";

trait Fleet {
    /// Writes fleet.toml: what all have, and these groups.
    fn declare(&self, groups: &str);
    fn plan(&self) -> Ran;
    fn apply(&self) -> Ran;
    /// What the plan would do with a machine, in a word.
    fn action(&self, name: &str) -> String;
}

impl Fleet for World {
    fn declare(&self, groups: &str) {
        fs::write(self.path("fleet.toml"), format!("{DEFAULTS}{groups}")).unwrap();
    }

    fn plan(&self) -> Ran {
        self.berth(&["plan"])
    }

    fn apply(&self) -> Ran {
        self.berth(&["--quiet-progress", "apply", "--yes", "--timeout", "20"])
    }

    fn action(&self, name: &str) -> String {
        let plan: Value = serde_json::from_str(&self.berth(&["plan", "--json"]).stdout).unwrap();
        let rows = plan["machines"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        row["action"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_fleet_grows_changes_and_shrinks() {
    let world = World::new();
    world.declare("[groups.web]\ncount = 2\nlabels = { role = 'web' }\n[groups.db]\nname = 'db'\nprotect = true\n");
    let plan = world.plan().code(6);
    assert_data_eq!(
        plan.printed(),
        str![[r#"
+ db: create (sshd, 64 MiB memory, WORLD/tiny.qcow2, none)
+ web-1: create (sshd, 64 MiB memory, WORLD/tiny.qcow2, none)
+ web-2: create (sshd, 64 MiB memory, WORLD/tiny.qcow2, none)
fleet prod: 3 to create

"#]]
    );
    let applied = world.apply().ok();
    assert_data_eq!(
        applied.printed(),
        str![[r#"
db created
web-1 created
web-2 created

"#]]
    );
    assert_data_eq!(
        world.plan().code(0).printed(),
        str![[r#"
fleet prod: 3 as they are to be

"#]]
    );

    // Nothing is done twice.
    let before = world.snapshot();
    assert_eq!(world.apply().ok().stdout, "");
    world.is_as_it_was(&before, "apply again");

    // What somebody changed is shown, and mended.
    world.berth(&["label", "web-1", "role=www", "mine=1"]).ok();
    world.berth(&["rm", "-y", "web-2"]).ok();
    assert_data_eq!(
        world.plan().code(6).printed(),
        str![[r#"
~ web-1: change
    - label mine 1
    - label role www
    + label role web
+ web-2: create (sshd, 64 MiB memory, WORLD/tiny.qcow2, none)
fleet prod: 1 to create, 1 to change, 1 as they are to be

"#]]
    );
    world.apply().ok();
    world.plan().code(0);
    assert_eq!(
        world.row("web-1")["labels"],
        serde_json::json!({"role": "web"})
    );

    // Fewer machines, larger ones, and one that is protected.
    world.declare("[groups.web]\ncount = 1\nmemory = '128M'\nlabels = { role = 'web' }\n");
    assert_data_eq!(
        world.plan().code(6).printed(),
        str![[r#"
~ web-1: change (it is restarted for its new size)
    - memory 64 MiB
    + memory 128 MiB
! db: left alone (protected: the file has it no more, and it is not removed)
- web-2: remove (the file has it no more)
fleet prod: 1 to change, 1 to remove, 1 left alone

"#]]
    );
    let refused = world.berth(&["apply"]).code(2);
    assert_data_eq!(
        refused.told(),
        str![[r#"
exit 2
~ web-1: change (it is restarted for its new size)
    - memory 64 MiB
    + memory 128 MiB
! db: left alone (protected: the file has it no more, and it is not removed)
- web-2: remove (the file has it no more)
fleet prod: 1 to change, 1 to remove, 1 left alone
berth: this removes web-2 with all data: say --yes

"#]]
    );
    assert_data_eq!(
        world.apply().code(5).printed(),
        str![[r#"
web-1 changed
web-2 removed

"#]]
    );
    assert_eq!(world.row("web-1")["memory"], 128 << 20);
    assert_eq!(world.row("web-2"), Value::Null);

    // What it is to have from its next start on counts, and what its hypervisor says that it has.
    world
        .berth(&["resize", "web-1", "--memory", "64M"])
        .ok()
        .says("after `berth restart web-1`");
    let memory_differs = |is: &str| {
        let told = world.plan().code(6).printed();
        let wanted = format!(
            "~ web-1: change (it is restarted for its new size)\n    - memory {is}\n    + memory 128 MiB\n"
        );
        assert!(told.starts_with(&wanted), "{told}");
        let pid = world.machine_pid("web-1");
        world.apply().code(5);
        assert_ne!(world.machine_pid("web-1"), pid);
        assert_eq!(world.action("web-1"), "nothing");
    };
    memory_differs("64 MiB");
    let runs = world.file("web-1", "vm/runs");
    let size = fs::read_to_string(&runs).unwrap();
    fs::write(&runs, size.replace("134217728", "33554432")).unwrap();
    memory_differs("32 MiB");
    assert_eq!(world.state("db"), "running");

    // It goes when the file says so.
    world.declare("[groups.web]\ncount = 0\n[groups.db]\nname = 'db'\n");
    world.apply().ok();
    world.declare("");
    world.apply().ok();
    assert_eq!(world.berth(&["ls", "-q"]).ok().stdout, "");
    world.plan().code(0);
}

#[test]
fn machines_that_are_not_the_fleets_are_left_alone() {
    let world = World::new();
    world.create(&["web-1", "other"]).ok();
    world.declare("[groups.web]\ncount = 1\nlabels = { a = 'b' }\n");
    // One that the file names is changed and taken in, but not replaced for it.
    assert_eq!(world.action("web-1"), "blocked");
    let told = world.plan().code(6).printed();
    assert!(told.contains("was not made for this fleet"), "{told}");
    let digest = world.row("web-1")["image"].as_str().unwrap().to_owned();
    world.declare(&format!(
        "[groups.web]\ncount = 1\nimage = '{digest}'\nlabels = {{ a = 'b' }}\n"
    ));
    assert_eq!(world.action("web-1"), "change");
    world.apply().ok();
    world.plan().code(0);
    // Another fleet's file cannot have it.
    let text = fs::read_to_string(world.path("fleet.toml")).unwrap();
    fs::write(world.path("fleet.toml"), text.replace("'prod'", "'test'")).unwrap();
    assert_eq!(world.action("web-1"), "blocked");
    fs::write(world.path("fleet.toml"), text).unwrap();
    world.declare("");
    assert_eq!(world.apply().ok().stdout, "web-1 removed\n");
    assert_eq!(world.state("other"), "running");
}

#[test]
fn an_exported_file_is_what_there_is() {
    let world = World::new();
    assert_eq!(
        world.berth(&["fleet", "export"]).ok().stdout,
        "fleet = \"fleet\"\n\n[groups]\n"
    );
    fs::write(
        world.path("d.json"),
        r#"{"debug": true, "log-opts": {"max-size": "1m"}}"#,
    )
    .unwrap();
    world
        .create(&[
            "web-1",
            "web-2",
            "-l",
            "role=web",
            "--daemon-json",
            "d.json",
            "--engine-env",
            "A=secret",
        ])
        .ok();
    world
        .create(&["db", "--cpus", "1", "-o", "mute=false"])
        .ok();
    let out = world.path("fleet.toml").display().to_string();
    world.berth(&["fleet", "export", "-o", &out]).ok();
    let text = fs::read_to_string(&out).unwrap();
    assert!(text.contains("names = [\"web-1\", \"web-2\"]"), "{text}");
    assert_eq!(world.plan().code(0).stdout.lines().count(), 1);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&out).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    world
        .berth(&["fleet", "export", "web-1"])
        .ok()
        .says("variables of web-1 are in it");
    // Applied, they are the fleet's, and its file is the same.
    world.apply().ok();
    assert_eq!(world.berth(&["fleet", "export"]).ok().stdout, text);
    world
        .berth(&["fleet", "export", "--fleet", "x"])
        .code(2)
        .says("of fleet fleet, not of x");
    let schema = world.berth(&["fleet", "schema"]).ok().stdout;
    let schema: Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["title"], "berth fleet file");
}

#[test]
fn a_machine_that_does_not_answer_is_left_alone() {
    let world = World::new();
    world.declare("[groups.web]\ncount = 2\n");
    world.apply().ok();
    world.declare("[groups.web]\ncount = 2\nlabels = { a = 'b' }\n");
    let pid = Pid::from_raw(world.machine_pid("web-1"));
    kill(pid, Signal::SIGSTOP).unwrap();
    let ask = ["--ask", "2"];
    let plan = world.berth(&[&["plan"], &ask[..]].concat()).code(5);
    assert!(plan.stdout.contains("? web-1: not told ("), "{plan:?}");
    let applied = world
        .berth(&[&["apply", "--yes", "--quiet-progress"], &ask[..]].concat())
        .code(5);
    kill(pid, Signal::SIGCONT).unwrap();
    assert_eq!(applied.stdout, "web-2 changed\n");
    assert_eq!(world.apply().ok().stdout, "web-1 changed\n");
    world.plan().code(0);
}

#[test]
fn an_engine_is_compared_with_the_one_that_answers() {
    let world = World::new();
    world.declare("[groups.web]\nname = 'web'\n");
    world.apply().ok();
    let _engine = engine::install(&world, "web");
    let with = |engine: &str| {
        world.declare(&format!(
            "[groups.web]\nname = 'web'\nengine = '{engine}'\n"
        ))
    };
    let record = fs::read_to_string(world.file("web", "machine.toml")).unwrap();
    let record = record.replace(
        "kind = \"none\"\nchannel",
        "kind = \"docker\"\nversion = \"28.5\"\nchannel",
    );
    fs::write(world.file("web", "machine.toml"), record).unwrap();
    world.berth(&["start", "web"]).ok();
    with("docker@28.5");
    assert_data_eq!(
        world.plan().code(0).printed(),
        str![[r#"
fleet prod: 1 as they are to be

"#]]
    );
    with("docker@26.1");
    assert_data_eq!(
        world.plan().code(6).printed(),
        str![[r#"
~ web: change
    - engine docker@28.5
    + engine docker@26.1
    - engine's version 28.5.2
    + engine's version 26.1
fleet prod: 1 to change

"#]]
    );
    with("docker@28.5");
    world.berth(&["stop", "web"]).ok();
    assert_data_eq!(
        world.plan().code(0).printed(),
        str![[r#"
= web: as it is to be (stopped: its engine was looked at by its record only)
fleet prod: 1 as they are to be

"#]]
    );
    world.berth(&["start", "web"]).ok();
    drop(_engine);
    let told = world.plan().code(6).printed();
    assert!(told.contains("    - engine in the machine "), "{told}");
}

#[test]
fn a_change_that_fails_stops_at_the_canary_and_goes_on_when_it_is_mended() {
    let world = World::new();
    world.declare("[groups.web]\ncount = 3\n");
    world.apply().ok();
    // A machine that never answers cannot take another's place.
    world.declare("[groups.web]\ncount = 3\noptions = { mute = true }\n");
    let broken = world
        .berth(&["--quiet-progress", "apply", "--yes", "--timeout", "2"])
        .code(5);
    assert_data_eq!(
        broken.told(),
        str![[r#"
exit 5
± web-1: replace
    - option mute false
    + option mute true
± web-2: replace
    - option mute false
    + option mute true
± web-3: replace
    - option mute false
    + option mute true
fleet prod: 3 to replace
berth: machine web-1 did not answer within 2 s: [..]
    | mute: up, and silent
hint: `berth logs web-1` shows the whole console; `--timeout` gives a slow guest more time
berth: stopped because of failures: machines that had not begun are as they were, and nothing was removed; mend what failed and apply the file again
berth: 1 failed: web-1 ([..])

"#]]
    );
    assert_eq!(world.state("web-2"), "running");
    assert_eq!(world.action("web-2"), "replace");
    assert_eq!(world.action("web-1"), "resume");
    world.declare("[groups.web]\ncount = 3\n");
    // What is mute stays so until it is made anew.
    world.berth(&["rm", "-f", "web-1"]).ok();
    assert_eq!(world.apply().ok().stdout, "web-1 created\n");
    world.plan().code(0);
}

#[test]
fn a_create_that_broke_off_is_finished() {
    let world = World::new();
    world.declare("[groups.web]\ncount = 1\nlabels = { a = 'b' }\n");
    let mut broken = world.command(&["apply", "--yes"]);
    let ran = world.finish(broken.env("BERTH_DIE_AT", "create:power:begin"));
    assert_eq!(ran.code, -9, "{ran:?}");
    assert_eq!(world.action("web-1"), "resume");
    assert_eq!(world.apply().ok().stdout, "web-1 finished\n");
    world.plan().code(0);

    // The same where one that is there was being changed.
    world.declare("[groups.web]\ncount = 1\noptions = { stubborn = true }\n");
    let mut broken = world.command(&["apply", "--yes"]);
    let ran = world.finish(broken.env("BERTH_DIE_AT", "rm:vm:begin"));
    assert_eq!(ran.code, -9, "{ran:?}");
    let told = world.plan().code(6).printed();
    assert!(told.contains("its removal broke off"), "{told}");
    assert_eq!(world.apply().ok().stdout, "web-1 replaced\n");
    world.plan().code(0);
}

#[test]
fn what_is_asked_for_is_asked_again_if_it_has_changed() {
    let world = World::new();
    world.declare("[groups.web]\ncount = 1\n");
    world.apply().ok();
    world.declare("[groups.web]\ncount = 1\nlabels = { a = 'b' }\n");
    let before = world.snapshot();
    let mut asked = Asked::begin(&world);
    asked.answer("n");
    let told = asked.end(1);
    assert!(told.contains("nothing was done"), "{told}");
    world.is_as_it_was(&before, "no");

    let mut asked = Asked::begin(&world);
    world.berth(&["label", "web-1", "other=1"]).ok();
    asked.answer("y");
    asked.wait_for_question();
    asked.answer("y");
    let told = asked.end(0);
    assert!(
        told.contains("the machines have changed meanwhile"),
        "{told}"
    );
    assert_eq!(world.row("web-1")["labels"], serde_json::json!({"a": "b"}));
}

/// `berth apply` on a terminal.
struct Asked {
    child: Child,
    told: String,
}

impl Asked {
    fn begin(world: &World) -> Asked {
        let child = world
            .program("script")
            .args([
                "-qec",
                &format!("{} --quiet-progress apply", support::BERTH),
                "/dev/null",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut asked = Asked {
            child,
            told: String::new(),
        };
        asked.wait_for_question();
        asked
    }

    fn wait_for_question(&mut self) {
        let from = self.told.len();
        while !self.told[from..].contains("Do it? [y/N]") {
            let mut buffer = [0; 1024];
            let count = self
                .child
                .stdout
                .as_mut()
                .unwrap()
                .read(&mut buffer)
                .unwrap();
            assert!(count > 0, "no question in {}", self.told);
            self.told += &String::from_utf8_lossy(&buffer[..count]);
        }
    }

    fn answer(&mut self, word: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{word}").unwrap();
    }

    /// Everything that was told.
    fn end(mut self, code: i32) -> String {
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut self.told)
            .unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{}", self.told);
        self.told
    }
}

#[test]
fn groups_are_selectors() {
    let world = World::new();
    world
        .declare("[groups.web]\ncount = 2\n[groups.db]\nname = 'db'\n[groups.new]\nname = 'new'\n");
    world.create(&["web-1", "web-2", "db", "else"]).ok();
    let ls = |args: &[&str]| {
        let ran = world.berth(&[&["ls", "-q"], args].concat()).ok();
        ran.lines().join(" ")
    };
    assert_eq!(ls(&["--group", "web"]), "web-1 web-2");
    assert_eq!(ls(&["--group", "web", "--group", "db"]), "db web-1 web-2");
    assert_eq!(ls(&["*1", "--group", "web"]), "web-1");
    fs::rename(world.path("fleet.toml"), world.path("my.toml")).unwrap();
    assert_eq!(ls(&["--group", "db", "--fleet-file", "my.toml"]), "db");
    world
        .berth(&["ls", "--group", "web"])
        .code(2)
        .says("fleet.toml");
    world.berth(&["ls", "--fleet-file", "my.toml"]).code(2);
    let file = ["--fleet-file", "my.toml"];
    world
        .berth(&[&["stop", "--group", "wbe"], &file[..]].concat())
        .code(2)
        .says("has no group \"wbe\": there are: db, new, web");
    world
        .berth(&[&["stop", "--group", "new"], &file[..]].concat())
        .code(2)
        .says("no machine matches it");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_done() {
    let world = World::new();
    world.create(&["web-1"]).ok();
    let before = world.snapshot();
    let mut told = String::new();
    let mut tell = |args: &[&str]| {
        told += &format!("$ berth {}\n{}\n", args.join(" "), world.berth(args).told());
    };
    tell(&["plan"]);
    tell(&["apply", "-f", "/etc"]);
    fs::write(
        world.path("fleet.toml"),
        "fleet = 'f'\n[groups.web]\nmemroy = '1G'\n",
    )
    .unwrap();
    tell(&["plan"]);
    tell(&["apply", "--yes"]);
    world.declare("[groups.web]\ncount = 1\nlabels = { a = 'b' }\n");
    tell(&["plan", "--ask", "0"]);
    tell(&["plan", "--parallel", "0"]);
    tell(&["apply", "--timeout", "x"]);
    tell(&["apply"]);
    tell(&["fleet", "export", "nobody"]);
    tell(&["fleet", "export", "-l", "x=y"]);
    fs::write(world.path("long.toml"), vec![b'#'; 5 << 20]).unwrap();
    tell(&["plan", "-f", "long.toml"]);
    assert_data_eq!(
        told,
        str![[r#"
$ berth plan
exit 3
berth: fleet.toml: No such file or directory (os error 2)
hint: name the file with -f; `berth fleet export` writes one for the machines that there are

$ berth apply -f /etc
exit 1
berth: /etc: Is a directory (os error 21)

$ berth plan
exit 2
berth: fleet.toml:3:1: there is no key "memroy"
hint: did you mean memory?

$ berth apply --yes
exit 2
berth: fleet.toml:3:1: there is no key "memroy"
hint: did you mean memory?

$ berth plan --ask 0
exit 2
error: invalid value '0' for '--ask <SECONDS>': 0 is not in 1..=PORT

For more information, try '--help'.

$ berth plan --parallel 0
exit 2
error: invalid value '0' for '--parallel <N>': 0 is not in 1..=4096

For more information, try '--help'.

$ berth apply --timeout x
exit 2
error: invalid value 'x' for '--timeout <SECONDS>': invalid digit found in string

For more information, try '--help'.

$ berth apply
exit 5
! web-1: left alone (it would have to be replaced, and was not made for this fleet)
    - image sha256:[..]
    + image WORLD/tiny.qcow2
    + label a b
fleet prod: 1 left alone

$ berth fleet export nobody
exit 3
berth: there is no machine nobody
hint: there are: web-1

$ berth fleet export -l x=y
exit 2
berth: no machine matches the selection

$ berth plan -f long.toml
exit 1
berth: long.toml: it is too long for a fleet file


"#]]
    );
    world.is_as_it_was(&before, "refused");
}

/// The same numbers at every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // Knuth's MMIX, of which the high bits are good.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Whatever is edited in the file, and whatever happens to its machines, after apply there is nothing to do.
#[test]
fn nothing_is_left_to_do_after_apply() {
    let world = World::new();
    let mut dice = Dice(20_261_122);
    for round in 0..12 {
        let groups = edited(&mut dice);
        world.declare(&groups);
        meddle(&world, &mut dice);
        world.apply().ok();
        let left = world.plan();
        assert!(left.code == 0, "round {round}: {left:#?} after\n{groups}");
        let before = world.snapshot();
        assert_eq!(world.apply().ok().stdout, "", "round {round}");
        world.is_as_it_was(&before, &groups);
    }
}

fn edited(dice: &mut Dice) -> String {
    let mut text = String::new();
    for group in ["aa", "bb"] {
        text += &format!("[groups.{group}]\ncount = {}\n", dice.roll(3));
        if dice.roll(4) == 0 {
            text += "memory = '128M'\n";
        }
        if dice.roll(4) == 0 {
            text += "options = { frail = false }\n";
        }
        if dice.roll(3) == 0 {
            text += "daemon = { debug = true }\n";
        }
        let labels: Vec<String> = ["x", "y", "z"]
            .iter()
            .filter_map(|key| match dice.roll(3) {
                0 => None,
                value => Some(format!("{key} = '{value}'")),
            })
            .collect();
        text += &format!("labels = {{ {} }}\n", labels.join(", "));
    }
    text
}

/// Does to one of the machines what nobody told the file.
fn meddle(world: &World, dice: &mut Dice) {
    let names = world.berth(&["ls", "-q"]).ok();
    let names = names.lines();
    if names.is_empty() {
        return;
    }
    let name = names[usize::try_from(dice.roll(names.len() as u64)).unwrap()];
    match dice.roll(5) {
        0 => drop(world.berth(&["rm", "-y", name]).ok()),
        1 => drop(world.berth(&["label", name, "x=9", "w=1", "y-"]).ok()),
        2 => drop(world.berth(&["stop", name]).ok()),
        3 => drop(world.berth(&["kill", name]).ok()),
        _ => {}
    }
}
