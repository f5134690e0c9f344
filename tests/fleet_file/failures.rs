//! Machines that do not answer, changes that fail, and an apply that broke off.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use snapbox::{assert_data_eq, str};

use crate::Fleet;
use crate::support::World;

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
