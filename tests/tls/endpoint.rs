//! How an endpoint comes, goes, and comes back: by `certs`, by `create`, on many machines at once.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use berth_provision::certs;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::client::{client_config, lets_in, own, ping};
use crate::support::{World, engine, eventually};
use crate::{authority, files, machine, pair, port};

#[test]
fn an_endpoint_opens_and_closes_while_the_machine_runs_and_comes_back_with_it() {
    let world = World::new();
    let _engine = machine(&world, "m1");
    let first = port(&world, "m1");
    let mut open = own(&world, "m1");
    open.write_all(b"GET /events HTTP/1.1\r\n\r\n").unwrap();
    open.read_exact(&mut [0; 15]).unwrap();
    world.berth(&["restart", "m1"]).ok();
    assert_eq!(port(&world, "m1"), first, "the port stays");
    eventually("it is back", || {
        lets_in(&world, "m1", Some(&pair(&files(&world, "m1"))))
    });

    world.berth(&["certs", "disable", "m1"]).ok();
    assert!(TcpStream::connect(("127.0.0.1", first)).is_err());
    assert!(!files(&world, "m1").exists());
    world
        .berth(&["url", "--tls", "m1"])
        .code(4)
        .says("berth certs enable m1");
    world.berth(&["env", "--tls", "m1"]).code(4);
    world.berth(&["certs", "renew", "m1"]).code(4);
    world.berth(&["certs", "disable", "m1"]).ok();

    // An address of the user's own, which somebody else has at first.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = world
        .berth(&["certs", "enable", "m1", "--address", &address])
        .code(1);
    assert!(refused.stderr.contains("is not to be had"), "{refused:?}");
    drop(taken);
    let url = world
        .berth(&["certs", "enable", "m1", "--address", &address])
        .ok()
        .stdout;
    assert_eq!(url.trim(), format!("tcp://{address}"));
    assert!(lets_in(&world, "m1", Some(&pair(&files(&world, "m1")))));
    assert_eq!(engine::ping(&world, "m1"), "OK");
}

#[test]
fn create_opens_an_endpoint_and_a_machine_without_an_engine_has_none() {
    let world = World::new();
    world.create(&["m1", "--tls"]).ok();
    let _engine = engine::install(&world, "m1");
    world.berth(&["start", "m1"]).ok();
    eventually("it listens", || {
        lets_in(&world, "m1", Some(&pair(&files(&world, "m1"))))
    });

    // Elsewhere and under another name, which the certificate then proves.
    let more = ["--address", "127.0.0.2", "--host", "Build.example.org"];
    let enable = [&["certs", "enable", "m1"], &more[..]].concat();
    let url = world.berth(&enable).ok().stdout;
    let port = url.trim().strip_prefix("tcp://build.example.org:").unwrap();
    let stream = TcpStream::connect(format!("127.0.0.2:{port}")).unwrap();
    let folder = files(&world, "m1");
    for name in ["build.example.org", "127.0.0.2", "m1"] {
        let config = client_config(&folder, Some(&pair(&folder)), rustls::ALL_VERSIONS);
        let name = ServerName::try_from(name).unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(stream.peer_addr().unwrap()).unwrap();
        let answer = ping(StreamOwned::new(connection, stream));
        assert_eq!(answer.unwrap(), "OK");
    }

    world.create(&["m2"]).ok();
    world
        .berth(&["certs", "enable", "m2"])
        .code(4)
        .says("no container engine");
    world
        .berth(&["certs", "enable", "m1", "m2", "--address", "127.0.0.1:2376"])
        .code(2);
    world
        .berth(&["certs", "enable", "m1", "--address", "localhost"])
        .code(2);
    world
        .berth(&["certs", "enable", "m1", "--host", "a b"])
        .code(2);
    world.berth(&["certs", "renew", "--revoke", "m1"]).code(2);
}

#[test]
fn many_machines_at_once_share_one_ca() {
    let world = World::new();
    let names: Vec<String> = (0..8).map(|n| format!("m{n}")).collect();
    let mut children = Vec::new();
    for name in &names {
        let args = world.create_args(&[name, "--tls"]);
        children.push(world.background(&args.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    for child in children {
        world.wait(child).ok();
    }
    let ca = authority(&world);
    for name in &names {
        let pem = fs::read(files(&world, name).join("cert.pem")).unwrap();
        let found = certs::read(&pem).unwrap();
        assert_eq!(found[0].issuer, ca.certificate().subject);
    }
}
