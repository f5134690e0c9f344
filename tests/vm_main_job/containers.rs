//! Containers live, talk and are looked at.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use crate::vm::Host;

pub fn lives(host: &Host) {
    host.docker("run --detach --name life --hostname life bbox sleep 100000")
        .ok();
    let state = || {
        host.docker("inspect --format {{.State.Status}} life")
            .text()
    };
    assert_eq!(state(), "running");
    assert_eq!(host.docker("exec life hostname").text(), "life");
    host.docker("exec life sh -c").arg("exit 7").exits(7);
    host.docker("stop --time 1 life").ok();
    assert_eq!(state(), "exited");
    host.docker("start life").ok();
    assert_eq!(state(), "running");
    host.docker("rm --force life").ok();
    assert_eq!(
        host.docker("ps --all --quiet --filter name=life").text(),
        ""
    );
}

pub fn logs_follow(host: &Host) {
    host.docker("run --detach --name chatter bbox sh -c")
        .arg("i=0; while [ $i -lt 8 ]; do echo line $i; i=$((i+1)); sleep 1; done")
        .ok();
    let begun = Instant::now();
    let mut child = host.docker("logs --follow chatter").spawn();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let seen: Vec<(String, Duration)> = lines.map(|l| (l.unwrap(), begun.elapsed())).collect();
    assert!(child.wait().unwrap().success());
    let words: Vec<&str> = seen.iter().map(|(line, _)| line.as_str()).collect();
    let wanted: Vec<String> = (0..8).map(|i| format!("line {i}")).collect();
    assert_eq!(words, wanted);
    // They came as they were written, not all at the end.
    let spread = seen[7].1 - seen[0].1;
    assert!(spread > Duration::from_secs(2), "all within {spread:?}");
    host.docker("rm chatter").ok();
}

pub fn stats(host: &Host) {
    host.docker("run --detach --name busy bbox sleep 100000")
        .ok();
    let line = host
        .docker("stats --no-stream --format {{.Name}}|{{.MemUsage}}|{{.PIDs}} busy")
        .text();
    let parts: Vec<&str> = line.split('|').collect();
    assert_eq!((parts[0], parts[2]), ("busy", "1"), "{line}");
    assert!(parts[1].contains("iB /"), "{line}");
    host.docker("rm --force busy").ok();
}
