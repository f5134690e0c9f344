//! Two hundred hosts.

use std::fs;
use std::time::Instant;

use serde_json::Value;

use crate::support::World;
use crate::support::host::{Host, script};

const HOSTS: usize = 200;

/// One sshd stands for all hosts; each connection to it finds a lock of its own.
#[test]
fn two_hundred_hosts_are_worked_on_in_batches() {
    let world = World::new();
    let each = world.path("each");
    script(
        &each,
        "#!/bin/sh\nset -- $SSH_CONNECTION\nexport BERTH_LOCKS=$HOME/locks/$2\nexec sh -c \"$SSH_ORIGINAL_COMMAND\"\n",
    );
    let forced = format!("\nForceCommand {}", each.display());
    let host = Host::start(&world, "good", &forced);
    let names: Vec<String> = (0..HOSTS).map(|n| format!("h{n:03}")).collect();
    let options = host.options();
    let mut args = vec!["create", "--engine", "none"];
    args.extend(options.iter().map(String::as_str));
    args.extend(names.iter().map(String::as_str));
    world.berth(&args).ok();
    let began = Instant::now();
    let rollout = [
        "rollout",
        "exec",
        "--all",
        "--yes",
        "--json",
        "--batch",
        "25%",
        "--",
        "echo x >>$HOME/ran",
    ];
    let ran = world.berth(&rollout);
    eprintln!("a rollout over {HOSTS} hosts: {:?}", began.elapsed());
    let told: Value = serde_json::from_str(&ran.ok().stdout).unwrap();
    let machines = told["machines"].as_array().unwrap();
    assert_eq!(machines.len(), HOSTS);
    assert_eq!(machines[HOSTS - 1]["batch"], 5);
    assert!(machines.iter().all(|machine| machine["state"] == "done"));
    let ran = fs::read_to_string(host.path("home/ran")).unwrap();
    assert_eq!(ran.lines().count(), HOSTS);
}
