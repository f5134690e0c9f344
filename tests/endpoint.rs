//! The engine's socket on this computer: what goes through it, and what happens when an end of it dies.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::engine::{self, Engine, body, get, ping};
use support::{World, eventually, leftovers};

/// A machine `m1` whose engine is reached.
fn machine(world: &World) -> Engine {
    world.create(&["m1"]).ok();
    let engine = engine::install(world, "m1");
    world.berth(&["start", "m1"]).ok();
    engine
}

fn connect(world: &World) -> UnixStream {
    let stream = UnixStream::connect(world.file("m1", "docker.sock")).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// The processes that serve the connections to a machine's sshd.
fn sessions(world: &World) -> Vec<i32> {
    let pid = world.machine_pid("m1");
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

fn supervisor_pid(world: &World) -> i32 {
    world.supervisor("m1")["pid"].as_i64().unwrap() as i32
}

#[test]
fn the_socket_is_private_and_answers_as_the_engine_does() {
    let world = World::new();
    let _engine = machine(&world);
    let socket = world.file("m1", "docker.sock");
    assert_eq!(
        fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(ping(&world, "m1"), "OK");
    let url = format!("unix://{}", socket.display());
    assert_eq!(world.berth(&["url", "m1"]).ok().stdout.trim(), url);
    let row = world.row("m1");
    assert_eq!(row["endpoint"], url);
    assert_eq!(row["engine"]["version"], "28.5.2");
    assert_eq!(world.supervisor("m1")["connected"], true);

    // The engine's own trouble is not the endpoint's: a client is refused and the next one is served.
    fs::rename(world.path("m1-engine.sock"), world.path("away")).unwrap();
    eventually("nothing answers", || {
        // A stream that was opened ahead may still be served by the listener that was there.
        let mut refused = connect(&world);
        let _ = refused.write_all(b"GET /_ping HTTP/1.1\r\nConnection: close\r\n\r\n");
        let _ = refused.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = refused.read_to_end(&mut answer);
        answer.is_empty()
    });
    fs::rename(world.path("away"), world.path("m1-engine.sock")).unwrap();
    assert_eq!(ping(&world, "m1"), "OK");

    world.berth(&["stop", "m1"]).ok();
    assert!(!socket.exists(), "the socket goes with the machine");
    world.berth(&["url", "m1"]).ok();
}

#[test]
fn the_end_of_one_direction_is_not_the_end_of_the_other() {
    let world = World::new();
    let _engine = machine(&world);
    let mut stream = connect(&world);
    stream.write_all(b"POST /drain HTTP/1.1\r\n\r\n").unwrap();
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7 % 251) as u8).collect();
    let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
    stream.write_all(&bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.ends_with(&format!("\r\n\r\n3000000 {sum}")),
        "{answer}"
    );
}

#[test]
fn a_hijacked_connection_carries_bytes_both_ways_until_both_ends_are_done() {
    let world = World::new();
    let _engine = machine(&world);
    let mut stream = connect(&world);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let upgrade = "POST /v1.50/upgrade HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).unwrap();
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    for word in ["hello", "again", "and again"] {
        stream.write_all(word.as_bytes()).unwrap();
        let mut answer = vec![0; word.len()];
        reader.read_exact(&mut answer).unwrap();
        assert_eq!(answer, word.to_uppercase().as_bytes());
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "<end of input>");
}

#[test]
fn fifty_clients_are_served_at_once() {
    let world = World::new();
    let _engine = machine(&world);
    // All are open before the first one asks.
    let streams: Vec<UnixStream> = (0..50).map(|_| connect(&world)).collect();
    std::thread::scope(|scope| {
        for mut stream in streams {
            scope.spawn(move || {
                for _ in 0..4 {
                    stream.write_all(b"GET /_ping HTTP/1.1\r\n\r\n").unwrap();
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    assert_eq!(body(&mut reader), "OK");
                }
            });
        }
    });
    assert_eq!(
        sessions(&world).len(),
        1,
        "one SSH connection serves them all"
    );
}

#[test]
fn the_connection_comes_back_when_the_guest_reboots() {
    let world = World::new();
    let _engine = machine(&world);
    for _ in 0..2 {
        // The guest goes down: it accepts nothing, and its connections end.
        signal(world.machine_pid("m1"), Signal::SIGSTOP);
        for session in sessions(&world) {
            signal(session, Signal::SIGKILL);
        }
        eventually("the loss is noticed", || {
            world.supervisor("m1")["connected"] == false
        });
        assert!(world.berth(&["status", "m1"]).ok().stdout.contains("link"));
        // Who asks meanwhile is served once it is up again.
        let mut stream = connect(&world);
        stream.write_all(b"GET /_ping HTTP/1.1\r\n\r\n").unwrap();
        signal(world.machine_pid("m1"), Signal::SIGCONT);
        assert_eq!(body(&mut BufReader::new(stream)), "OK");
        assert_eq!(ping(&world, "m1"), "OK");
        assert_eq!(world.supervisor("m1")["connected"], true);
    }
}

#[test]
fn a_killed_supervisor_is_told_at_once_and_mended_by_start() {
    let world = World::new();
    let _engine = machine(&world);
    let pid = supervisor_pid(&world);
    signal(pid, Signal::SIGKILL);
    eventually("it is dead", || !leftovers::lives(pid));
    let row = world.row("m1");
    assert_eq!(row["state"], "running");
    let error = row["error"].as_str().unwrap();
    assert_eq!(error, "its supervisor is gone: `berth start` mends it");
    world.berth(&["start", "m1"]).ok();
    assert_eq!(world.row("m1")["error"], serde_json::Value::Null);
    assert_ne!(supervisor_pid(&world), pid);
    assert_eq!(ping(&world, "m1"), "OK");
    // Starting again leaves the one that works alone.
    let pid = supervisor_pid(&world);
    world.berth(&["start", "m1"]).ok();
    assert_eq!(supervisor_pid(&world), pid);
}

#[test]
fn a_killed_machine_is_told_at_once_and_its_supervisor_leaves() {
    let world = World::new();
    let _engine = machine(&world);
    let supervisor = supervisor_pid(&world);
    let sessions = sessions(&world);
    signal(world.machine_pid("m1"), Signal::SIGKILL);
    for session in sessions {
        signal(session, Signal::SIGKILL);
    }
    assert_eq!(world.state("m1"), "stopped");
    eventually("the supervisor leaves", || !leftovers::lives(supervisor));
    assert!(!world.file("m1", "docker.sock").exists());
    world.berth(&["start", "m1"]).ok();
    assert_eq!(ping(&world, "m1"), "OK");
}

#[test]
fn a_stopped_machine_takes_its_supervisor_along() {
    let world = World::new();
    let _engine = machine(&world);
    let supervisor = supervisor_pid(&world);
    // A client that listens for events does not hold it up.
    let mut stream = connect(&world);
    stream.write_all(b"GET /events HTTP/1.1\r\n\r\n").unwrap();
    world.berth(&["stop", "m1"]).ok();
    eventually("the supervisor leaves", || !leftovers::lives(supervisor));
    let log = std::fs::read_to_string(world.file("m1", "supervisor.log")).unwrap();
    assert!(log.contains("the machine stopped"), "{log}");
    assert!(!log.contains("told to end"), "{log}");
    world.berth(&["restart", "m1"]).ok();
    assert_eq!(ping(&world, "m1"), "OK");
}

#[test]
fn published_ports_come_and_go_with_their_containers() {
    let world = World::new();
    let engine = machine(&world);
    // The guest is this computer, so the port's other loopback address stands for the host's side.
    let inside = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = inside.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in inside.incoming().flatten() {
            let _ = stream.write_all(b"hello from the container");
        }
    });
    let here = format!("[::1]:{port}");
    assert!(TcpStream::connect(&here).is_err());

    engine.publish(Some(("web", "::1", port)));
    eventually("the port opens", || TcpStream::connect(&here).is_ok());
    let mut text = String::new();
    let mut stream = TcpStream::connect(&here).unwrap();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello from the container");
    let status = world.berth(&["status", "m1"]).ok().stdout;
    assert!(
        status.contains(&format!("{port}/tcp {here} → web")),
        "{status}"
    );

    engine.publish(None);
    eventually("the port closes", || TcpStream::connect(&here).is_err());
    assert_eq!(world.supervisor("m1")["ports"], serde_json::json!([]));

    // A port that somebody else has is told, and everything else goes on.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    engine.publish(Some(("web", "0.0.0.0", port)));
    eventually("the trouble is told", || {
        let status = world.berth(&["status", "m1"]).ok().stdout;
        status.contains(&format!("not forwarded: 127.0.0.1:{port} is taken"))
    });
    assert_eq!(ping(&world, "m1"), "OK");
}

/// Says `words` to `here`; what comes back within a moment.
fn datagram(here: &str, words: &str) -> Option<String> {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    client.connect(here).unwrap();
    client.send(words.as_bytes()).unwrap();
    let mut answer = [0; 100];
    let length = client.recv(&mut answer).ok()?;
    Some(String::from_utf8(answer[..length].to_vec()).unwrap())
}

#[test]
fn a_published_port_may_be_one_of_datagrams() {
    let world = World::new();
    let engine = machine(&world);
    // The guest is this computer, and the container has another of its loopback addresses.
    let inside = UdpSocket::bind("127.0.0.2:0").unwrap();
    let port = inside.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut question = [0; 100];
        while let Ok((length, client)) = inside.recv_from(&mut question) {
            let answer = [b"you said ", &question[..length]].concat();
            inside.send_to(&answer, client).unwrap();
        }
    });
    let here = format!("127.0.0.1:{port}");
    engine.publish_as("udp", "dns", "127.0.0.2", port);
    eventually("an answer", || {
        datagram(&here, "who?").as_deref() == Some("you said who?")
    });
    let status = world.berth(&["status", "m1"]).ok().stdout;
    assert!(
        status.contains(&format!("{port}/udp {here} → dns")),
        "{status}"
    );

    // The connection is lost, with what carries the datagrams, and made again.
    let before = sessions(&world);
    for pid in &before {
        signal(*pid, Signal::SIGKILL);
    }
    eventually("another connection", || {
        sessions(&world).iter().any(|pid| !before.contains(pid))
    });
    eventually("an answer", || {
        datagram(&here, "and now?").as_deref() == Some("you said and now?")
    });

    engine.publish(None);
    eventually("the port closes", || UdpSocket::bind(&here).is_ok());
    engine.publish_as("sctp", "web", "0.0.0.0", port);
    eventually("the trouble is told", || {
        let status = world.berth(&["status", "m1"]).ok().stdout;
        status.contains("not forwarded: sctp is not forwarded")
    });
}

#[test]
fn a_long_name_has_a_short_socket_and_it_goes_away_too() {
    let world = World::new();
    let name = "x".repeat(63);
    world.create(&[&name]).ok();
    let _engine = engine::install(&world, &name);
    world.berth(&["start", &name]).ok();
    let url = world.berth(&["url", &name]).ok().stdout;
    let socket = std::path::PathBuf::from(url.trim().strip_prefix("unix://").unwrap());
    assert!(socket.as_os_str().len() < 108);
    assert_eq!(get(&socket, "/_ping"), "OK");
    world.berth(&["rm", "-y", &name]).ok();
    assert!(!socket.parent().unwrap().exists(), "{}", socket.display());
}
