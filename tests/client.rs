//! `berth ps`, `images`, `stats`, `df`, `events` and containers' logs: the engines of many machines asked at once, of
//! which some are dead and some say what no terminal should obey.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use snapbox::{assert_data_eq, str};
use support::engine::{self, Engine};
use support::{Ran, World, eventually};

const WEB: &str = r#"[{"Id":"c1c1c1c1c1c1c1c1","Names":["/api\u001b[2J"],"Image":"shop:1","Command":"serve","Created":1,
    "State":"running","Status":"Up 5 minutes","Ports":[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"}]},
    {"Id":"c0c0c0c0c0c0c0c0","Names":["/api-2"],"Image":"shop:2","Created":1,"State":"exited","Status":"Exited (1)"}]"#;

/// Machines with engines that say what a test has them say.
fn world(names: &[&str]) -> (World, Vec<Engine>) {
    let world = World::new();
    world.create(names).ok();
    let engines = names.iter().map(|name| {
        world.berth(&["stop", name]).ok();
        engine::install(&world, name)
    });
    let engines = engines.collect();
    world.berth(&[&["start"], names].concat()).ok();
    (world, engines)
}

/// Without the age of what was made in 1970.
fn printed(ran: &Ran) -> String {
    let days = (std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / 86_400).to_string();
    ran.printed().replace(&days, "DAYS!")
}

#[test]
fn containers_are_listed_and_the_dead_hold_nobody_up() {
    let (world, engines) = world(&["web1", "web2", "web3"]);
    engines[0].answers("/containers/json", WEB);
    engines[1].answers("/containers/json", "");
    engines[2].answers("/containers/json", "<html>");
    let began = Instant::now();
    let ran = world.berth(&["ps", "--timeout", "1"]);
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_data_eq!(
        printed(&ran),
        str![[r#"
MACHINE   NAME     IMAGE    CREATED      STATUS         PORTS
web1      api-2    shop:2   PORT days   Exited (1)
web1      api[2J   shop:1   PORT days   Up 5 minutes   0.0.0.0:8080->80/tcp

"#]]
    );
    assert_data_eq!(
        ran.told(),
        str![[r#"
exit 5
berth: machine web2: its engine did not answer within 1 s
berth: machine web3: the engine at WORLD/b/machines/web3/docker.sock does not answer as an engine does: line 1 column 1
hint: `berth provision web3` tries again, `berth create --resume web3` finishes a create

"#]]
    );
    let ran = world.berth(&["ps", "web1", "--json"]).ok();
    let rows: Value = serde_json::from_str(&ran.stdout).unwrap();
    let fields: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "machine", "id", "name", "image", "command", "state", "status", "ports", "created"
        ]
    );
    assert_eq!(rows[1]["name"], "api[2J");
    let ran = world.berth(&["ps", "web1", "--format", "{{.Machine}} {{.ID}} {{.State}}"]);
    assert_eq!(
        ran.ok().stdout,
        "web1 c0c0c0c0c0c0 exited\nweb1 c1c1c1c1c1c1 running\n"
    );

    // One that is off is left out, unless it is asked for.
    world.berth(&["stop", "web2", "web3"]).ok();
    world.berth(&["ps"]).ok();
    let ran = world.berth(&["ps", "web1", "web2", "-q"]).code(5);
    assert_eq!(ran.stdout, "api-2\napi[2J\n");
    ran.says("machine web2 is stopped");
    // Where there is no supervisor, it goes over SSH.
    let supervisor = fs::read_to_string(world.file("web1", "supervisor.lock")).unwrap();
    let pid: i32 = supervisor.split(' ').next().unwrap().parse().unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    let socket = world.file("web1", "docker.sock");
    eventually("the supervisor is gone", || {
        UnixStream::connect(&socket).is_err()
    });
    assert_eq!(world.berth(&["ps", "web1", "-q"]).ok().lines().len(), 2);
}

#[test]
fn images_disks_and_figures_are_told() {
    let (world, engines) = world(&["web1", "web2"]);
    engines[0].answers(
        "/images/json",
        r#"[{"Id":"sha256:abababababababab","RepoTags":["shop:1","shop:latest"],"Size":1536,"Created":1},
            {"Id":"sha256:cdcdcdcdcdcdcdcd","RepoTags":null,"Size":5,"Created":1}]"#,
    );
    engines[1].answers("/images/json", "[]");
    assert_data_eq!(
        printed(&world.berth(&["images"]).ok()),
        str![[r#"
MACHINE   IMAGE         ID             CREATED      SIZE
web1      shop:1        abababababab   PORT days   1.5 KiB
web1      shop:latest   abababababab   PORT days   1.5 KiB
web1      <none>        cdcdcdcdcdcd   PORT days   5 B

"#]]
    );
    engines[0].answers(
        "/system/df",
        r#"{"LayersSize":2048,"Images":[{"Size":2048,"Containers":0}]}"#,
    );
    engines[1].answers(
        "/system/df",
        r#"{"VolumeUsage":{"TotalCount":2,"ActiveCount":1,"TotalSize":10,"Reclaimable":4}}"#,
    );
    assert_data_eq!(
        world.berth(&["df"]).ok().printed(),
        str![[r#"
MACHINE   KIND          COUNT   IN USE   SIZE      RECLAIMABLE
web1      images        1       0        2.0 KiB   2.0 KiB
web1      containers    0       0        0 B       0 B
web1      volumes       0       0        0 B       0 B
web1      build-cache   0       0        0 B       0 B
web2      images        0       0        0 B       0 B
web2      containers    0       0        0 B       0 B
web2      volumes       2       1        10 B      4 B
web2      build-cache   0       0        0 B       0 B

"#]]
    );
    engines[0].answers(
        "/containers/json",
        r#"[{"Id":"c1c1c1c1c1c1c1c1","Names":["/api"]}]"#,
    );
    engines[0].answers(
        "/containers/c1c1c1c1c1c1/stats",
        r#"{"cpu_stats":{"cpu_usage":{"total_usage":300},"system_cpu_usage":2000,"online_cpus":2},
            "precpu_stats":{"cpu_usage":{"total_usage":100},"system_cpu_usage":1000},
            "memory_stats":{"usage":3145728,"limit":10485760,"stats":{"inactive_file":1048576}},
            "networks":{"eth0":{"rx_bytes":7,"tx_bytes":8}},"pids_stats":{"current":3}}"#,
    );
    assert_data_eq!(
        world.berth(&["stats"]).ok().printed(),
        str![[r#"
MACHINE   NAME   CPU      MEMORY    OF         IN    OUT   PIDS
web1      api    40.0 %   2.0 MiB   10.0 MiB   7 B   8 B   3

"#]]
    );
}

#[test]
fn logs_of_containers_come_from_all_machines_line_by_line() {
    let (world, engines) = world(&["web1", "web2"]);
    let frame = |kind: u8, text: &str| {
        let length = u8::try_from(text.len()).unwrap();
        let head = [kind, 0, 0, 0, 0, 0, 0, length];
        String::from_utf8(head.to_vec()).unwrap() + text
    };
    for (engine, id) in engines.iter().zip(["c1c1c1c1c1c1", "d1d1d1d1d1d1"]) {
        let listed = format!(
            r#"[{{"Id":"{id}0000","Names":["/api"]}},{{"Id":"ffff0000ffff","Names":["/db"]}}]"#
        );
        engine.answers("/containers/json", &listed);
        engine.answers(
            &format!("/containers/{id}/json"),
            r#"{"Config":{"Tty":false}}"#,
        );
        let log = frame(1, "one\nhal") + &frame(2, "oops\n") + &frame(1, "f\n");
        engine.answers(&format!("/containers/{id}/logs"), &log);
    }
    let ran = world.berth(&["logs", "--container", "ap*"]).ok();
    let mut lines = ran.lines();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "web1/api: half",
            "web1/api: one",
            "web2/api: half",
            "web2/api: one"
        ]
    );
    assert!(ran.stderr.contains("web1/api: oops\n"), "{ran:?}");
    let ran = world.berth(&["logs", "web2", "--container", "d1d1d1"]).ok();
    assert_eq!(ran.stdout, "web2/api: one\nweb2/api: half\n");
    world.berth(&["stop", "web1"]).ok();
    let ran = world.berth(&["logs", "*", "--container", "api"]).code(5);
    assert_eq!(ran.stdout, "web2/api: one\nweb2/api: half\n");
    ran.says("machine web1 is stopped");
}

#[test]
fn events_are_followed_and_one_that_dies_is_told_of() {
    let (world, engines) = world(&["web1", "web2"]);
    let (out, err) = (world.path("out"), world.path("err"));
    let child = world
        .command(&["events", "-f", "--json"])
        .stdout(fs::File::create(&out).unwrap())
        .stderr(fs::File::create(&err).unwrap())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let seen = |machine: &str| {
        let text = fs::read_to_string(&out).unwrap();
        let events = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event["machine"] == machine).count()
    };
    // It listens a moment after it was started.
    eventually("both are heard", || {
        engines.iter().for_each(|engine| engine.publish(None));
        seen("web1") > 0 && seen("web2") > 0
    });
    world.berth(&["kill", "web1"]).ok();
    eventually("its end is told", || {
        fs::read_to_string(&err)
            .unwrap()
            .contains("machine web1: its engine went away")
    });
    let before = seen("web2");
    eventually("the other goes on", || {
        engines[1].publish(None);
        seen("web2") > before
    });
    world.berth(&["kill", "web2"]).ok();
    world.wait(child).code(5);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let (world, _engines) = world(&["web1"]);
    let mut all = String::new();
    for args in [
        &["ps", "web2"][..],
        &["ps", "web1", "--timeout", "0"],
        &["ps", "web1", "--json", "-q"],
        &["images", "-l", "role=db"],
        &["events"],
        &["events", "--since", "soon"],
        &["logs"],
        &["logs", "web1", "--tail", "3"],
        &["logs", "web1", "--container", "api", "--supervisor"],
        &["logs", "web1", "--container", "api"],
        &["df", "web1", "--all"],
    ] {
        let ran = world.berth(args);
        let told = ran.told();
        let told: Vec<&str> = told
            .lines()
            .filter(|line| !line.is_empty())
            .take(3)
            .collect();
        all += &format!("$ berth {}\n{}\n", args.join(" "), told.join("\n"));
    }
    assert_data_eq!(
        all,
        str![[r#"
$ berth ps web2
exit 3
berth: there is no machine web2
hint: there are: web1
$ berth ps web1 --timeout 0
exit 2
error: invalid value '0' for '--timeout <SECONDS>': write seconds, such as 30 or 0.5
For more information, try '--help'.
$ berth ps web1 --json -q
exit 2
error: the argument '--json' cannot be used with '--quiet'
Usage: berth ps --json <NAME>...
$ berth images -l role=db
exit 2
berth: the selection: no machine matches it
$ berth events
exit 2
berth: say -f for what happens from now on, --since for what has happened
$ berth events --since soon
exit 2
error: invalid value 'soon' for '--since <SECONDS>': write seconds, such as 30 or 0.5
For more information, try '--help'.
$ berth logs
exit 2
berth: name one machine: only with --container may there be many
$ berth logs web1 --tail 3
exit 2
error: the following required arguments were not provided:
  --container <CONTAINER>
$ berth logs web1 --container api --supervisor
exit 2
error: the argument '--container <CONTAINER>' cannot be used with '--supervisor'
Usage: berth logs --container <CONTAINER> <NAME>...
$ berth logs web1 --container api
exit 3
berth: no container api on web1
$ berth df web1 --all
exit 2
berth: --all: some machines are named as well: it is either

"#]]
    );
}
