//! A hundred adopted hosts, of which some are dead, some silent, some not who they were.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::World;
use support::host::{Host, free_port};

const HOSTS: usize = 100;

/// How long berth may take beside its deadline: on two cores shared with others, ninety handshakes at both ends.
const DEADLINE: Duration = Duration::from_secs(5);

#[test]
fn a_hundred_hosts_are_listed_within_the_deadline() {
    let world = World::new();
    let good = Host::start(&world, "good", "");
    let mut changed = Host::start(&world, "changed", "");
    // It takes connections, and never greets.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    std::thread::spawn(move || silent.incoming().collect::<Vec<_>>());
    let dead_port = free_port();

    let names: Vec<String> = (0..HOSTS).map(|n| format!("h{n:03}")).collect();
    let adopt = |host: &Host, names: &[String]| {
        let options = host.options();
        let mut args = vec!["create", "--engine", "none"];
        args.extend(options.iter().map(String::as_str));
        args.extend(names.iter().map(String::as_str));
        world.berth(&args).ok();
    };
    adopt(&good, &names[..90]);
    adopt(&changed, &names[90..]);
    changed.change_key("");
    // Twenty that answered once, and no longer do.
    for (n, name) in names[..20].iter().enumerate() {
        let file = world.file(name, "vm/ssh.toml");
        let text = fs::read_to_string(&file).unwrap();
        let port = if n < 10 { dead_port } else { silent_port };
        let moved = text.replace(&format!("port = {}", good.port), &format!("port = {port}"));
        assert_ne!(moved, text);
        fs::write(&file, moved).unwrap();
    }

    let begun = Instant::now();
    let timeout = DEADLINE.as_secs().to_string();
    let listed = world.berth(&["ls", "--json", "--timeout", &timeout]).ok();
    let took = begun.elapsed();
    assert!(took < DEADLINE + Duration::from_secs(2), "{took:?}");
    let rows: Value = serde_json::from_str(&listed.stdout).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), HOSTS);
    for (n, row) in rows.iter().enumerate() {
        let (state, error) = match n {
            0..10 => ("unreachable", "refused"),
            10..20 => ("unreachable", "no SSH server greets"),
            20..90 => ("running", ""),
            _ => ("error", "does not have the host key recorded"),
        };
        let told = row["error"].as_str().unwrap_or_default();
        assert_eq!(row["state"], state, "{row}");
        assert!(
            told.contains(error) && told.is_empty() == error.is_empty(),
            "{row}"
        );
    }
    eprintln!("listed {HOSTS} hosts in {took:?}");
    world.berth(&["rm", "-y", "--all"]).ok();
}
