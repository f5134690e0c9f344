//! Real engines of several machines go from one generation to the next in batches while a container counts in each; one
//! that breaks is given back what it had, and the rollout goes on once it is mended.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod faults;
#[path = "../vm/mod.rs"]
mod vm;

use std::time::{Duration, Instant};

use serde_json::Value;
use vm::{BOOT, FETCH, Host, Out, build_busybox, image};

/// All of it.
const ROLLOUT: Duration = Duration::from_secs(1800);

/// Debian 13's engine and the one of Debian's unstable suite, by what they begin with.
const OLD: &str = "26.1.5";
const NEW: &str = "28.5.2";

/// Machines of User Mode Linux, and emulated ones; `BERTH_ROLLOUT=UML,QEMU` has it done with others.
const MACHINES: &str = "4,0";

/// So many boot at once.
const AT_ONCE: usize = 3;

/// Every package of the engine with its version, and what is held.
const PACKAGES: &str = "dpkg-query -W docker.io docker-cli containerd runc; apt-mark showhold";

/// Takes the engine's package in the folder apart and has it refuse to be configured where `/etc/broken` is.
const SPOIL: &str = "cd new; p=$(ls docker.io_*.deb); dpkg-deb -R \"$p\" ../spoilt; \
     sed -i '1a [ ! -e /etc/broken ] || { echo cannot be configured >\\&2; exit 1; }' ../spoilt/DEBIAN/postinst; \
     dpkg-deb -Zgzip -z1 -b ../spoilt \"$p\" >/dev/null";

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn a_fleet_is_upgraded_in_batches_and_every_container_counts_on() {
    let host = Host::with("uml");
    let names = machines(&host);
    let third = names[2].clone();
    bundle(&host);
    let before: Vec<String> = names.iter().map(|name| packages(&host, name)).collect();
    let mut counted: Vec<u64> = names.iter().map(|name| counts(&host, name, 0)).collect();
    host.inside(&third, "touch /etc/broken").ok();

    // The third breaks: it has what it had, its batch is finished, nothing more is begun.
    let out = upgrade(&host, "--yes").exits(5);
    println!("stopped after {:.1?}\n{}", out.took, out.stderr);
    let out = out
        .says("cannot be configured")
        .says("1 failed, and none may")
        .says(&format!("1 failed: {third}"))
        .says("berth rollout resume");
    assert!(
        out.stdout.contains(&format!("{}: {OLD}", names[0])),
        "{}",
        out.stdout
    );
    for (name, state) in states(&host) {
        let at = names.iter().position(|of| *of == name).unwrap();
        let now = packages(&host, &name);
        match state.as_str() {
            "done" => assert!(now.contains(NEW), "{name}: {now}"),
            _ => assert_eq!(now, before[at], "{name} is {state}"),
        }
        counted[at] = counts(&host, &name, counted[at]);
    }
    let done = states(&host)
        .iter()
        .filter(|(_, state)| state == "done")
        .count();
    assert!(done >= 2 && done < names.len() - 1, "{done}");

    // Once it is mended, the rest is done.
    host.inside(&third, "rm /etc/broken").ok();
    let out = host.berth("rollout resume").deadline(ROLLOUT).ok();
    println!("resumed in {:.1?}\n{}", out.took, out.stderr);
    for (at, name) in names.iter().enumerate() {
        assert!(packages(&host, name).contains(NEW), "{name}");
        counted[at] = counts(&host, name, counted[at]);
    }
    let again = upgrade(&host, "--yes").ok();
    assert!(
        again.stderr.contains("nothing is to do on"),
        "{}",
        again.stderr
    );

    // A way down whose gate says no at the second machine: both have again what they had before it.
    let before: Vec<String> = names.iter().map(|name| packages(&host, name)).collect();
    let gate = format!("test \"$BERTH_MACHINE\" != {}", names[1]);
    let out = host
        .berth("rollout upgrade --to 26.1.5 --channel distro --canary 0 --batch 1 --rollback-all --yes --gate")
        .arg(gate)
        .args([names[0].as_str(), names[1].as_str()])
        .deadline(ROLLOUT)
        .exits(5)
        .says("the gate says no")
        .says("all go back");
    println!("down and back in {:.1?}\n{}", out.took, out.stderr);
    for at in 0..2 {
        assert_eq!(packages(&host, &names[at]), before[at]);
        counts(&host, &names[at], counted[at]);
    }
    let history = host.berth("rollout history --format {{.State}}").text();
    assert_eq!(history, "taken back\ndone");
    settings_are_changed_for_all(&host, &names);
    host.finish();
}

/// All engines are told something new in batches, while what runs in them runs on; asked again, nothing is to do.
fn settings_are_changed_for_all(host: &Host, names: &[String]) {
    let counted: Vec<u64> = names.iter().map(|name| counts(host, name, 0)).collect();
    let line = "rollout provision --all --batch 50% --yes --engine-label tier=web";
    let out = host.berth(line).deadline(ROLLOUT).ok();
    println!("told all in {:.1?}\n{}", out.took, out.stderr);
    for (name, counted) in names.iter().zip(counted) {
        let labels = host.docker(&format!("--context {name} info --format {{{{.Labels}}}}"));
        assert_eq!(labels.text(), "[tier=web]");
        counts(host, name, counted);
    }
    let again = host.berth(line).deadline(ROLLOUT).ok();
    println!("asked again in {:.1?}", again.took);
    assert!(again.says("nothing is to do on").stdout.is_empty());

    // One that no engine starts with: the first machine's runs on with what it had, and the others are not begun.
    let counted = counts(host, &names[0], 0);
    std::fs::write(host.scratch().join("bad.json"), "{\"no-such-setting\": 1}").unwrap();
    let bad = "rollout provision --all --yes --daemon-json bad.json";
    let out = host.berth(bad).deadline(ROLLOUT).exits(5);
    println!("refused after {:.1?}\n{}", out.took, out.stderr);
    out.says("no-such-setting").says("1 failed: m01");
    counts(host, &names[0], counted);
    let waiting = states(host)
        .into_iter()
        .filter(|(_, state)| state == "waiting");
    assert_eq!(waiting.count(), names.len() - 1);
    host.berth("rollout abort").ok();
    host.berth(line)
        .deadline(ROLLOUT)
        .ok()
        .says("nothing is to do on");
}

/// Makes the machines, each with a container that counts.
fn machines(host: &Host) -> Vec<String> {
    let wanted = std::env::var("BERTH_ROLLOUT").unwrap_or_else(|_| MACHINES.into());
    let (uml, qemu) = wanted.split_once(',').unwrap();
    let named = |prefix: &str, count: &str| -> Vec<String> {
        (1..=count.parse::<usize>().unwrap())
            .map(|n| format!("{prefix}{n:02}"))
            .collect()
    };
    let (mut names, emulated) = (named("m", uml), named("q", qemu));
    let begun = Instant::now();
    let create = |names: &[String], driver: &str| {
        host.berth("create --memory 768M --image")
            .arg(image("debian-13-docker"))
            .args(["--driver", driver])
            .args(names.to_vec())
            .deadline(BOOT * 2)
    };
    for some in names.chunks(AT_ONCE) {
        create(some, "uml").ok();
    }
    if !emulated.is_empty() {
        create(&emulated, "qemu").ok();
    }
    names.extend(emulated);
    println!("{} machines in {:.1?}", names.len(), begun.elapsed());
    host.berth("use").arg(names[0].clone()).ok();
    build_busybox(host);
    host.docker("save --output bbox.tar bbox").ok();
    for name in &names {
        let docker = |line: &str| host.docker(&format!("--context {name} {line}"));
        docker("load --input bbox.tar").ok();
        docker("run --detach --name counter bbox sh -c")
            .arg("i=0; while :; do i=$((i+1)); echo $i; sleep 1; done")
            .ok();
    }
    names
}

/// The new engine's packages in the folder `new`. What they depend on, the machines have.
fn bundle(host: &Host) {
    let out = host.shell(FETCH).deadline(BOOT).ok();
    host.shell(SPOIL).ok();
    println!("downloaded in {:.1?}", out.took);
}

fn upgrade(host: &Host, more: &str) -> vm::Run {
    let line = "rollout upgrade --all --channel bundle:new --canary 1 --batch 50%";
    host.berth(&format!("{line} {more}")).deadline(ROLLOUT)
}

fn packages(host: &Host, name: &str) -> String {
    host.inside(name, PACKAGES).ok().stdout
}

/// Each machine's state in the last rollout.
fn states(host: &Host) -> Vec<(String, String)> {
    let out: Out = host.berth("rollout status --json").ok();
    let told: Value = serde_json::from_str(&out.stdout).unwrap();
    let word = |machine: &Value, key: &str| machine[key].as_str().unwrap().to_owned();
    let machines = told["machines"].as_array().unwrap().iter();
    machines
        .map(|machine| (word(machine, "name"), word(machine, "state")))
        .collect()
}

/// The container runs, is the one it was, and has counted on; the last number. An engine that ends may take along a line
/// that it had read and not yet written.
fn counts(host: &Host, name: &str, last: u64) -> u64 {
    let docker = |line: &str| host.docker(&format!("--context {name} {line}"));
    let restarts = docker("inspect --format {{.RestartCount}}:{{.State.Running}} counter").text();
    assert_eq!(restarts, "0:true", "{name}");
    vm::eventually("it counts on", Duration::from_secs(60), || {
        let all = docker("logs counter").text();
        let numbers: Vec<u64> = all.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers[0], 1, "{name}: {all}");
        assert!(numbers.is_sorted_by(|a, b| a < b), "{name}: {all}");
        let now = *numbers.last().unwrap();
        (now > last).then_some(now)
    })
}
