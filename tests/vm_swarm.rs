//! A Docker swarm of real machines: a service answers while a manager dies and is replaced, and while every node is
//! drained and comes back.
//!
//! User Mode Linux has vxlan but no address translation, so services are resolved by name to their tasks (dnsrr).

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod vm;

use std::time::{Duration, Instant};

use serde_json::Value;
use vm::{ANSWER, BOOT, FETCH, Host, build_busybox, eventually, image};

const MACHINES: [&str; 4] = ["s1", "s2", "s3", "s4"];

/// A machine that is in no swarm.
const CLIENTS: &str = "s5";

/// What a shell says of a program that SIGKILL ended.
const KILLED: i32 = 137;

/// Seconds without an answer: the one port dies with its node, and the others are tried in turn, some of which take
/// seconds to be given up.
const LONGEST_GAP: u64 = 15;

/// Asks the port that answered last, and looks for another one when it does not; tells the second of each answer.
const BALANCER: &str = r#"use IO::Socket::INET; $| = 1;
    sub ask { my $s = IO::Socket::INET->new(PeerAddr => $_[0], PeerPort => $_[1], Timeout => 1) or return 0; my $said = "";
        eval { local $SIG{ALRM} = sub { die }; alarm 2; print $s "GET /index.html HTTP/1.0\r\n\r\n";
               local $/; $said = <$s>; alarm 0; 1 } or return 0;
        return $said =~ /built/ }
    sub find { for my $node (@ARGV) { for (32768..32787) { my $began = time;
        if (ask($node, $_)) { ($to, $port) = ($node, $_); return 1 }
        last if time - $began >= 1 } } return 0 }
    until (-e "/run/over") { print time, "\n" if ($to && ask($to, $port)) || find(); select undef, undef, undef, 0.2 }"#;

/// Asks every task of the service once and again, and writes a line each time: the first answer, or that none came.
const CLIENT: &str = "while :; do said=silence; for a in $(nslookup tasks.web 2>/dev/null | sed -n 's/^Address: *\\(10[.0-9]*\\)$/\\1/p'); \
                      do said=$(printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc -w 3 $a 80 | tail -n 1); \
                      [ \"$said\" = built ] && break; done; echo \"said ${said:-nothing}\"; sleep 0.2; done";

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn a_service_answers_while_managers_die_and_nodes_are_drained() {
    let host = Host::with("uml");
    host.berth("create --memory 384M --option network=shared:swarm --image")
        .arg(image("debian-13-docker"))
        .args(MACHINES)
        .arg(CLIENTS)
        .deadline(BOOT)
        .ok();
    host.berth("use s1").ok();
    build_busybox(&host);
    host.docker("save --output bbox.tar bbox").ok();
    for name in &MACHINES[1..] {
        host.docker(&format!("--context {name} load --quiet --input bbox.tar"))
            .ok();
    }

    let formed = host.berth("swarm init --name prod").args(MACHINES);
    let formed = formed.deadline(ANSWER).ok();
    assert_eq!(formed.stdout.lines().count(), 4);
    assert!(!formed.stderr.contains("SWMTKN") && !state(&host).contains("SWMTKN"));
    let status = status(&host, 0);
    assert_eq!(
        of(&status, "role"),
        ["manager", "manager", "manager", "worker"]
    );
    assert_eq!(of(&status, "state"), ["ready"; 4]);
    assert_eq!(
        (&status["spare"], &status["manager"]),
        (&1.into(), &"s1".into())
    );
    // Again: nothing is to do, and the machines are as they were told.
    let again = host.berth("swarm init --json --name prod").args(MACHINES);
    let again: Value = serde_json::from_str(&again.ok().stdout).unwrap();
    assert!(again["joined"].as_array().unwrap().is_empty(), "{again}");

    host.berth("use prod").ok();
    host.docker("network create --driver overlay --attachable shop")
        .ok();
    host.docker("service create --detach --no-resolve-image --name web --endpoint-mode dnsrr --network shop --publish mode=host,target=80 --replicas 4 --stop-grace-period 1s")
        .args(["bbox", "httpd", "-f", "-p", "80", "-h", "/www"])
        .ok();
    four_run(&host);
    // The client is beside the swarm's services, on a machine that stays.
    host.docker("--context s4 run --detach --name client --network shop bbox sh -c")
        .arg(CLIENT)
        .ok();
    let answered = || {
        let logs = host.docker("--context s4 logs client").ok().stdout;
        logs.lines().filter(|line| *line == "said built").count()
    };
    eventually("an answer", ANSWER, || (answered() > 2).then_some(()));

    let upgrade = "rollout upgrade s1 s2 s3 s4 --channel bundle:new --batch 2 --yes";
    host.shell(FETCH).deadline(BOOT).ok();
    answers_meanwhile(&host, || rolled_out(&host, upgrade));
    // What is no service's ends with a member's engine, which has no live-restore.
    host.docker("--context s4 start client").ok();
    let known = status_of(&host);
    assert_eq!(of(&known, "state"), ["ready"; 4]);
    assert_eq!(of(&known, "availability"), ["active"; 4]);
    assert!(
        of(&known, "engine")
            .iter()
            .all(|engine| engine.starts_with("28.5.2")),
        "{known}"
    );
    four_run(&host);

    // A manager dies, the one that the context leads to.
    host.berth("kill s1").ok();
    eventually("the others decide", ANSWER, || {
        (status_of(&host)["manager"] == "s2").then_some(())
    });
    // The two that are left decide together, so neither can be spared.
    eventually("it is missed", ANSWER, || {
        (status_of(&host)["spare"] == 0).then_some(())
    });
    host.berth("rollout restart s2 --yes")
        .deadline(ANSWER)
        .exits(4)
        .says("the swarm could decide nothing");
    let before = Instant::now();
    host.berth("swarm leave s1").deadline(ANSWER).exits(1);
    let replaced = host.berth("swarm replace s1 s4").deadline(ANSWER).ok();
    println!(
        "a dead manager was replaced in {:.1} s",
        before.elapsed().as_secs_f64()
    );
    assert!(
        replaced.stderr.contains("s4 is a manager now"),
        "{}",
        replaced.stderr
    );
    let status = status_of(&host);
    assert_eq!(of(&status, "machine"), ["s2", "s3", "s4"]);
    assert_eq!(of(&status, "role"), ["manager"; 3]);
    assert_eq!(status["spare"], 1);
    four_run(&host);

    // berth is killed while a manager is empty and off, and goes on with both.
    answers_meanwhile(&host, || {
        let killed = host.berth("rollout restart s2 s3 --batch 1 --yes");
        let killed = killed.env("BERTH_DIE_AT", "start:power:work");
        let killed = killed.deadline(ANSWER).exits(KILLED).took;
        let met = status_of(&host);
        assert_eq!(of(&met, "availability")[0], "drain", "{met}");
        killed + rolled_out(&host, "rollout resume")
    });
    assert_eq!(of(&status_of(&host), "availability"), ["active"; 3]);
    four_run(&host);

    // It comes back, does not know that it is out, and joins again.
    host.berth("start s1").deadline(BOOT).ok();
    host.berth("swarm join s1").deadline(ANSWER).exits(4);
    host.berth("swarm leave --force s1").deadline(ANSWER).ok();
    host.berth("swarm join s1").deadline(ANSWER).ok();

    // A manager leaves while its containers run: they move, and the worker takes its place.
    let left = host.berth("swarm leave s2").deadline(ANSWER).ok();
    assert!(
        left.stderr.contains("s1 is a manager now"),
        "{}",
        left.stderr
    );
    let status = status_of(&host);
    assert_eq!(of(&status, "machine"), ["s1", "s3", "s4"]);
    assert_eq!(of(&status, "role"), ["manager"; 3]);
    four_run(&host);
    let engine = host.inside(
        "s2",
        "docker info --format '{{.Swarm.LocalNodeState}} {{.LiveRestoreEnabled}}'",
    );
    assert_eq!(engine.ok().stdout.trim(), "inactive true");

    let (built, said) = told(&host);
    println!("the client was answered {built} of {said} times");
    // Each failure is of a moment in which a task had gone and its name had not; every node is emptied more than once.
    assert!(built * 100 >= said * 90, "{built} of {said}");

    let gone = host.berth("swarm leave s1 s3 s4").deadline(ANSWER).ok();
    assert_eq!(gone.stdout.lines().collect::<Vec<_>>(), ["s1", "s3", "s4"]);
    assert!(!host.berth_home().join("swarms/prod").exists());
    host.finish();
}

/// A rollout to its end, and the time that it took.
fn rolled_out(host: &Host, rollout: &str) -> Duration {
    let out = host.berth(rollout).deadline(ANSWER * 5).ok();
    println!("{rollout}: {:.1?}\n{}{}", out.took, out.stdout, out.stderr);
    out.took
}

/// A `rollout` over the swarm's nodes, while a machine outside of the swarm asks the ports that they publish, as a
/// balancer in front of them would.
fn answers_meanwhile(host: &Host, rollout: impl FnOnce() -> Duration) {
    let nodes = MACHINES.map(|name| host.berth("ip").arg(name).run().stdout);
    let nodes = nodes.each_ref().map(|address| address.trim()).join(" ");
    let ask = format!("nohup perl -e '{BALANCER}' {nodes} >/run/answers 2>&1 </dev/null & sleep 2");
    host.inside(CLIENTS, &format!("rm -f /run/over; {ask}"))
        .ok();
    let took = rollout();
    let said = host
        .inside(CLIENTS, "touch /run/over; cat /run/answers")
        .text();
    let times: Vec<u64> = said.lines().map(|line| line.parse().unwrap()).collect();
    let gap = times.windows(2).map(|two| two[1] - two[0]).max().unwrap();
    println!("{} answers, none for {gap} s at most", times.len());
    let asked = times[times.len() - 1] - times[0];
    assert!(
        asked + 10 > took.as_secs(),
        "it was not asked all the time: {asked} s"
    );
    assert!(gap <= LONGEST_GAP, "{times:?}");
}

/// How often the client was answered, and how often it asked.
fn told(host: &Host) -> (usize, usize) {
    let logs = host.docker("--context s4 logs client").ok().stdout;
    let built = logs.lines().filter(|line| *line == "said built").count();
    (built, logs.lines().count())
}

/// Waits until the whole service runs.
fn four_run(host: &Host) {
    eventually("four replicas", ANSWER, || {
        (running(host, "prod") == 4).then_some(())
    });
}

/// How many replicas run; none while the managers choose a leader, which docker says as an error.
fn running(host: &Host, context: &str) -> usize {
    let tasks = host
        .docker(&format!(
            "--context {context} service ps web --filter desired-state=running --format"
        ))
        .arg("{{.CurrentState}}")
        .run();
    tasks
        .stdout
        .lines()
        .filter(|state| state.starts_with("Running"))
        .count()
}

fn status(host: &Host, code: i32) -> Value {
    let told = host
        .berth("swarm status prod --json")
        .deadline(ANSWER)
        .run();
    assert_eq!(told.code, code, "{} {}", told.stdout, told.stderr);
    serde_json::from_str::<Value>(&told.stdout).unwrap()[0].clone()
}

fn status_of(host: &Host) -> Value {
    let told = host
        .berth("swarm status prod --json")
        .deadline(ANSWER)
        .run();
    serde_json::from_str::<Value>(&told.stdout).unwrap()[0].clone()
}

fn of(status: &Value, field: &str) -> Vec<String> {
    let nodes = status["nodes"].as_array().unwrap();
    nodes
        .iter()
        .map(|node| node[field].as_str().unwrap_or("").to_owned())
        .collect()
}

/// Everything that berth keeps in small files.
fn state(host: &Host) -> String {
    let home = host.berth_home();
    let out = host.shell(&format!(
        "find {} -type f -size -64k -exec cat {{}} +",
        home.display()
    ));
    out.run().stdout
}
