//! What the machines print: side by side, as JSON, line by line, and more than fits into memory.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;
use snapbox::{assert_data_eq, str};

use crate::support::eventually;
use crate::{told, world};

#[test]
fn identical_output_is_shown_once_under_the_machines_names() {
    let world = world(&["web1", "web2", "web3", "db1"]);
    // Machines of this test are one computer: what tells them apart is the home that each has.
    let script =
        "case $HOME in */db1/*) echo database; exit 3;; *) echo web; echo careful >&2;; esac";
    let ran = world.berth(&["exec", "--all", "--", script]).code(5);
    assert_data_eq!(
        ran.printed(),
        str![[r#"
== db1 (1), exit 3 ==
database
== web[1-3] (3) ==
web

"#]]
    );
    assert_data_eq!(
        told(&ran),
        str![[r#"
exit 5
web[1-3]: careful
berth: 3 ok; 1 exit 3: db1 (TIME)

"#]]
    );
    let ran = world.berth(&["exec", "web*", "--", "true"]).ok();
    assert_eq!(ran.stdout, "", "silence needs no header");
    // A single machine's failure is told by the same code.
    world.berth(&["exec", "db1", "--", "exit 7"]).code(5);
}

#[test]
fn json_has_a_record_a_machine() {
    let world = world(&["web1", "web2"]);
    world.berth(&["stop", "web2"]).ok();
    let script = "printf 'a\\033[1m\\377\"'; echo no >&2; exit 4";
    let ran = world
        .berth(&["exec", "--all", "--json", "--", script])
        .code(5);
    let records: Value = serde_json::from_str(&ran.stdout).unwrap();
    let records = records.as_array().unwrap();
    assert!(records[0]["duration"].as_f64().unwrap() > 0.0);
    let fields: Vec<&String> = records[0].as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "name", "changed", "rc", "duration", "stdout", "stderr", "error"
        ]
    );
    assert_eq!(records[0]["rc"], 4);
    assert_eq!(records[0]["stdout"], "a\u{1b}[1m\u{fffd}\"");
    assert_eq!(records[0]["stderr"], "no\n");
    assert_eq!(records[0]["error"], Value::Null);
    assert_eq!(records[1]["name"], "web2");
    assert_eq!(records[1]["rc"], Value::Null);
    assert_eq!(records[1]["error"], "machine web2 is stopped");
}

#[test]
fn lines_come_as_they_are_written() {
    let world = world(&["web1", "web2"]);
    let gate = world.path("gate");
    let script = "echo one; echo oops >&2; until [ -e \"$0\" ]; do sleep 0.1; done; printf end";
    let gate_path = gate.display().to_string();
    let args = [
        "exec", "--all", "--stream", "--", "sh", "-c", script, &gate_path,
    ];
    let out = world.path("out");
    let mut child = world
        .command(&args)
        .stdout(fs::File::create(&out).unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = || {
        let text = fs::read_to_string(&out).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    eventually("the first lines are there", || {
        lines() == ["web1: one", "web2: one"]
    });
    assert!(child.try_wait().unwrap().is_none(), "it still runs");
    fs::write(&gate, "").unwrap();
    let ran = world.wait(child).ok();
    assert_eq!(
        lines(),
        ["web1: end", "web1: one", "web2: end", "web2: one"]
    );
    assert!(ran.stderr.contains("web1: oops\n") && ran.stderr.contains("web2: oops\n"));
}

/// The most memory that a process has had, in MiB.
fn peak(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

#[test]
fn a_gigabyte_of_output_is_no_gigabyte_of_memory() {
    let world = world(&["web1", "web2"]);
    let script = "case $HOME in */web1/*) head -c 1073741824 /dev/zero;; *) echo little;; esac";
    let mut child = world
        .command(&["exec", "--all", "--", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let reading =
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()).unwrap());
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = most.max(peak(&child).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(20));
    }
    let ran = world.wait(child).ok();
    assert!(ran.stderr.contains("berth: 2 ok"), "{ran:?}");
    let header = "== web1 (1) ==\n\n== web2 (1) ==\nlittle\n".len() as u64;
    assert_eq!(reading.join().unwrap(), (1 << 30) + header);
    println!("peak memory {most} MiB");
    assert!(most > 0 && most < 100, "peak memory {most} MiB");
}
