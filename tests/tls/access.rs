//! Who is let in, and who is not.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use berth_provision::certs::{self, Authority};

use crate::client::{client, lets_in, own, ping};
use crate::support::World;
use crate::support::engine;
use crate::{DAY, authority, files, machine, pair, port};

#[test]
fn the_machines_own_client_is_served_by_both_versions_of_tls() {
    let world = World::new();
    let _engine = machine(&world, "m1");
    assert_eq!(ping(own(&world, "m1")).unwrap(), "OK");
    let folder = files(&world, "m1");
    for version in rustls::ALL_VERSIONS {
        let shown = pair(&folder);
        let client = client(port(&world, "m1"), &folder, Some(&shown), &[version]);
        assert_eq!(ping(client.unwrap()).unwrap(), "OK", "{version:?}");
    }
    // Beside it, the unix socket is what it was.
    assert_eq!(engine::ping(&world, "m1"), "OK");
    let status = world.berth(&["status", "m1"]).ok().stdout;
    let url = format!("tls        tcp://127.0.0.1:{}", port(&world, "m1"));
    assert!(status.contains(&url), "{status}");
}

#[test]
fn whoever_has_no_certificate_of_this_machine_is_refused() {
    let world = World::new();
    let _engines = [machine(&world, "m1"), machine(&world, "m2")];
    let (mine, theirs) = (pair(&files(&world, "m1")), pair(&files(&world, "m2")));
    assert!(lets_in(&world, "m1", Some(&mine)));
    assert!(lets_in(&world, "m2", Some(&theirs)));
    assert!(!lets_in(&world, "m1", None), "nobody");
    assert!(!lets_in(&world, "m1", Some(&theirs)), "another machine's");
    assert!(!lets_in(&world, "m2", Some(&mine)), "another machine's");

    let now = SystemTime::now();
    let names = certs::read(mine.certificate.as_bytes()).unwrap()[0]
        .names
        .clone();
    let stranger = Authority::load(&Authority::make(now).unwrap()).unwrap();
    let forged = stranger.client(&names, None, now).unwrap();
    assert!(!lets_in(&world, "m1", Some(&forged)), "a stranger's");
    let ca = authority(&world);
    let server = ca.server(&names, None, now).unwrap();
    assert!(!lets_in(&world, "m1", Some(&server)), "a server's");
    let ended = ca.client(&names, None, now - DAY * 500).unwrap();
    assert!(!lets_in(&world, "m1", Some(&ended)), "one that ended");
    // The same names and the right CA are what it takes.
    let valid = ca.client(&names, None, now).unwrap();
    assert!(lets_in(&world, "m1", Some(&valid)));

    // Who does not speak TLS hears nothing of the engine.
    let mut plain = TcpStream::connect(("127.0.0.1", port(&world, "m1"))).unwrap();
    plain
        .write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(
        !String::from_utf8_lossy(&answer).contains("HTTP"),
        "{answer:?}"
    );
    assert!(lets_in(&world, "m1", Some(&mine)), "and it goes on");
}

#[test]
fn keys_are_their_users_alone() {
    let world = World::new();
    let _engine = machine(&world, "m1");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for folder in [
        files(&world, "m1"),
        world.data().join("secrets"),
        world.data().join("ca"),
    ] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
    let named = |folder: PathBuf| -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let all = ["ca.pem", "cert.pem", "key.pem", "server.pem"];
    assert_eq!(named(files(&world, "m1")), all);
}
