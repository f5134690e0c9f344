//! When each machine has its turn, and what cuts it off: time, and Ctrl-C.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use snapbox::{assert_data_eq, str};

use crate::support::eventually;
use crate::{nothing_runs, told, world};

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
