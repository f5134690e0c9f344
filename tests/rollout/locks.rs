//! Two rollouts are not on one machine, whoever's computers they run on.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::ends::adopt;
use crate::support::host::Host;
use crate::support::{World, eventually};
use crate::{states, world};

#[test]
fn two_homes_exclude_each_other_and_a_dead_one_holds_nothing() {
    let (here, there) = (World::new(), World::new());
    let host = Host::start(&here, "shared", "");
    adopt(&here, &host, "mine");
    adopt(&there, &host, "theirs");
    let wait = "echo x >>$HOME/ran; until [ -e $HOME/go ]; do sleep 0.05; done";
    let begun = || fs::read_to_string(host.path("home/ran")).is_ok_and(|text| !text.is_empty());
    let running = here.background(&["rollout", "exec", "mine", "--yes", "--", wait]);
    eventually("it is begun", begun);

    let args = ["rollout", "exec", "theirs", "--yes", "--", "true"];
    let refused = there
        .berth(&args)
        .code(4)
        .says("machine theirs is in another rollout");
    let name = nix::unistd::gethostname().unwrap().into_string().unwrap();
    assert!(
        refused.stderr.contains(&format!("@{name} has it since 20")),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("(exec, rollout 20"), "{refused:?}");
    // Nothing of it was begun, so nothing is left to go on with.
    there.berth(&["rollout", "resume"]).code(3);

    // Whoever has it dies without a word: it is free at once.
    kill(Pid::from_raw(running.id().cast_signed()), Signal::SIGKILL).unwrap();
    here.wait(running).code(-9);
    eventually("the machine is free", || there.berth(&args).code == 0);
    fs::write(host.path("home/go"), "").unwrap();
    here.berth(&["rollout", "resume"]).ok();
    assert_eq!(states(&here), "mine:done");
}

#[test]
fn one_home_refuses_what_overlaps_and_lets_the_rest_pass() {
    let world = world(&["m1", "m2", "m3"]);
    let wait = "echo x >>$HOME/ran; until [ -e $HOME/go ]; do sleep 0.05; done";
    let args = [
        "rollout", "exec", "m1", "m2", "--yes", "--batch", "1", "--", wait,
    ];
    let running = world.background(&args);
    eventually("m1 is begun", || crate::ran_in(&world, "m1") == 1);
    let pid = running.id();
    let user = nix::unistd::User::from_uid(nix::unistd::getuid())
        .unwrap()
        .unwrap();
    world
        .berth(&["rollout", "restart", "m2", "m3", "--yes"])
        .code(4)
        .says("m2 is in rollout")
        .says(&format!("by {}@", user.name))
        .says("which is under way");
    world
        .berth(&["rollout", "exec", "m3", "--yes", "--", "true"])
        .ok();
    world
        .berth(&["rollout", "resume"])
        .code(4)
        .says(&format!("process {pid}"));
    for name in ["m1", "m2"] {
        fs::write(world.file(name, "vm/go"), "").unwrap();
    }
    world.wait(running).ok();
}
