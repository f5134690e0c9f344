//! Two hundred hosts, each an sshd of its own.

use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use serde_json::Value;

use crate::support::World;
use crate::support::host::Host;

const HOSTS: usize = 200;

/// So many are made at once.
const AT_ONCE: usize = 8;

/// Puts the bundle's service in the place of the one that is there; where `broken` is, it does not start.
fn install(bundle: &str) -> String {
    format!(
        "tar -C $HOME -xf {bundle} && test ! -e $HOME/broken && sh $HOME/service/start >$HOME/running"
    )
}

#[test]
fn a_service_is_replaced_on_two_hundred_hosts() {
    let world = World::new();
    let hosts = hosts(&world);
    let shared = world.path("shared");
    fs::create_dir(&shared).unwrap();
    for version in ["1", "2"] {
        bundle(&world, version);
    }
    let there = |version: &str| format!("{}/service-{version}.tar", shared.display());
    let told = |what: &str, began: Instant| eprintln!("{what}: {:.1?}", began.elapsed());

    let began = Instant::now();
    let listed = world.berth(&["ls", "--json"]).ok().stdout;
    told("ls", began);
    let rows: Value = serde_json::from_str(&listed).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), HOSTS);
    assert!(rows.iter().all(|row| row["state"] == "running"), "{listed}");

    let began = Instant::now();
    let target = format!("*:{}", shared.display());
    for version in ["1", "2"] {
        let file = format!("service-{version}.tar");
        let ran = world.berth(&["cp", &file, &target]).ok();
        assert_eq!(ran.lines().len(), HOSTS);
    }
    told("cp, twice", began);

    let began = Instant::now();
    let first = install(&there("1"));
    world.berth(&["exec", "--all", "--", &first]).ok();
    told("exec", began);
    assert_eq!(running(&hosts, "1"), HOSTS);

    // One of them breaks: its batch is finished, and no other one is begun.
    let broken = &hosts[60];
    fs::write(broken.path("home/broken"), "").unwrap();
    let began = Instant::now();
    let second = install(&there("2"));
    let rollout = [
        "rollout", "exec", "--all", "--yes", "--json", "--batch", "25%", "--", &second,
    ];
    let ran = world.berth(&rollout).code(5);
    told("a rollout of which one fails", began);
    assert!(ran.stderr.contains("1 failed"), "{}", ran.stderr);
    assert_eq!(
        by_state(&ran.stdout),
        [("done", 100), ("failed", 1), ("waiting", 99)]
    );
    assert_eq!(running(&hosts, "2"), 100);

    fs::remove_file(broken.path("home/broken")).unwrap();
    let began = Instant::now();
    world.berth(&["rollout", "resume"]).ok();
    told("resumed", began);
    assert_eq!(running(&hosts, "2"), HOSTS);
    let status = world.berth(&["rollout", "status", "--json"]).ok().stdout;
    assert_eq!(by_state(&status), [("done", HOSTS)]);
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["machines"][HOSTS - 1]["batch"], 5);

    let began = Instant::now();
    let from = format!(":{}", there("2"));
    world.berth(&["cp", "--all", &from, "back"]).ok();
    told("cp from all", began);
    assert_eq!(fs::read_dir(world.path("back")).unwrap().count(), HOSTS);
    // Their own machines are nothing to remove.
    drop(hosts);
}

/// Starts the hosts and adopts them.
fn hosts(world: &World) -> Vec<Host> {
    let began = Instant::now();
    let names: Vec<String> = (0..HOSTS).map(|n| format!("h{n:03}")).collect();
    let made = Mutex::new(Vec::new());
    let made = &made;
    std::thread::scope(|scope| {
        for some in names.chunks(HOSTS.div_ceil(AT_ONCE)) {
            scope.spawn(move || {
                for name in some {
                    let host = Host::start(world, name, "");
                    let options = host.options();
                    let mut create = vec!["create", name, "--engine", "none"];
                    create.extend(options.iter().map(String::as_str));
                    world.berth(&create).ok();
                    made.lock().unwrap().push((name.clone(), host));
                }
            });
        }
    });
    let mut made = std::mem::take(&mut *made.lock().unwrap());
    made.sort_by(|(one, _), (other, _)| one.cmp(other));
    eprintln!("{HOSTS} hosts: {:.1?}", began.elapsed());
    made.into_iter().map(|(_, host)| host).collect()
}

/// Makes `service-VERSION.tar`.
fn bundle(world: &World, version: &str) {
    let folder = world.path(format!("bundle{version}/service"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("start"), format!("echo {version}\n")).unwrap();
    let made = Command::new("tar")
        .arg("-C")
        .arg(world.path(format!("bundle{version}")))
        .arg("-cf")
        .arg(world.path(format!("service-{version}.tar")))
        .arg("service")
        .status();
    assert!(made.unwrap().success());
}

/// How many hosts run that version of the service.
fn running(hosts: &[Host], version: &str) -> usize {
    let runs = |host: &&Host| {
        fs::read_to_string(host.path("home/running")).is_ok_and(|runs| runs.trim() == version)
    };
    hosts.iter().filter(runs).count()
}

/// How many machines fared how.
fn by_state(told: &str) -> Vec<(&'static str, usize)> {
    let told: Value = serde_json::from_str(told).unwrap();
    let machines = told["machines"].as_array().unwrap();
    let count = |state: &'static str| {
        let of = machines.iter().filter(|machine| machine["state"] == state);
        (state, of.count())
    };
    let all = ["done", "failed", "waiting"].map(count);
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}
