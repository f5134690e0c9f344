//! Certificates that change while the endpoint serves.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::time::SystemTime;

use berth_provision::certs;
use serde_json::Value;

use crate::client::{lets_in, own, ping};
use crate::support::engine::body;
use crate::support::{World, eventually};
use crate::{DAY, authority, files, machine, pair};

fn serial(pem: &str) -> String {
    certs::read(pem.as_bytes()).unwrap()[0].serial.clone()
}

fn server_serial(world: &World, name: &str) -> String {
    serial(&fs::read_to_string(files(world, name).join("server.pem")).unwrap())
}

/// The number of the certificate that the endpoint shows.
fn served(world: &World, name: &str) -> String {
    let mut client = own(world, name);
    client.write_all(b"GET /_ping HTTP/1.1\r\n\r\n").unwrap();
    let shown = client.conn.peer_certificates().unwrap()[0].clone();
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &shown)
    );
    // In lines, as PEM is.
    let mut lines = String::new();
    for line in pem.lines() {
        for part in line.as_bytes().chunks(64) {
            lines.push_str(std::str::from_utf8(part).unwrap());
            lines.push('\n');
        }
    }
    serial(&lines)
}

#[test]
fn a_certificate_that_ends_soon_is_renewed_while_the_endpoint_serves() {
    let world = World::new();
    let _engine = machine(&world, "m1");
    let ca = authority(&world);
    let folder = files(&world, "m1");
    // A client that is at work meanwhile.
    let mut at_work = own(&world, "m1");
    at_work.write_all(b"GET /_ping HTTP/1.1\r\n\r\n").unwrap();
    let before = own(&world, "m1");

    let names = |file: &str| {
        let pem = fs::read(folder.join(file)).unwrap();
        certs::read(&pem).unwrap()[0].names.clone()
    };
    let old = SystemTime::now() - DAY * 300;
    let key = pair(&folder).key;
    let server = ca.server(&names("server.pem"), None, old).unwrap();
    let client = ca.client(&names("cert.pem"), Some(&key), old).unwrap();
    let place = |name: &str, content: &str| {
        fs::write(world.path("draft"), content).unwrap();
        fs::rename(world.path("draft"), folder.join(name)).unwrap();
    };
    place("cert.pem", &client.certificate);
    place(
        "server.pem",
        &format!("{}{}", server.certificate, server.key),
    );
    let numbers = [serial(&server.certificate), serial(&client.certificate)];

    eventually("both are renewed", || {
        let client = fs::read_to_string(folder.join("cert.pem")).unwrap();
        server_serial(&world, "m1") != numbers[0] && serial(&client) != numbers[1]
    });
    assert_eq!(pair(&folder).key, key, "a key that was handed out stays");
    eventually("the new one is served", || {
        served(&world, "m1") == server_serial(&world, "m1")
    });
    assert!(lets_in(&world, "m1", Some(&client)), "until it ends");
    assert_eq!(body(&mut BufReader::new(at_work)), "OK");
    assert_eq!(ping(before).unwrap(), "OK");
    let pid = world.supervisor("m1")["pid"].clone();
    world.berth(&["start", "m1"]).ok();
    assert_eq!(world.supervisor("m1")["pid"], pid, "without a restart");
}

#[test]
fn a_new_ca_locks_nobody_out_unless_it_is_told_to() {
    let world = World::new();
    let _engine = machine(&world, "m1");
    let old = pair(&files(&world, "m1"));
    world.berth(&["certs", "renew", "--ca"]).ok();
    assert_eq!(served(&world, "m1"), server_serial(&world, "m1"));
    let new = pair(&files(&world, "m1"));
    assert_ne!(new.key, old.key);
    assert!(lets_in(&world, "m1", Some(&new)));
    assert!(lets_in(&world, "m1", Some(&old)), "what the old CA signed");
    let rows: Value =
        serde_json::from_str(&world.berth(&["certs", "ls", "--json"]).ok().stdout).unwrap();
    let roles: Vec<&str> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["ca", "old ca", "server", "client"]);
    assert_eq!(
        rows[2]["issuer"],
        format!("CN={}", rows[0]["subject"].as_str().unwrap())
    );

    // Someone has the old files: they end here, with the connections that they opened.
    let mut open = own(&world, "m1");
    open.write_all(b"GET /events HTTP/1.1\r\n\r\n").unwrap();
    open.read_exact(&mut [0; 15]).unwrap();
    world.berth(&["certs", "renew", "--ca", "--revoke"]).ok();
    assert!(!lets_in(&world, "m1", Some(&old)));
    assert!(!lets_in(&world, "m1", Some(&new)));
    let mut rest = Vec::new();
    assert!(open.read_to_end(&mut rest).is_err(), "it was cut off");
    assert!(lets_in(&world, "m1", Some(&pair(&files(&world, "m1")))));
    authority(&world);
}
