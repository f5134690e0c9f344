//! The TLS endpoint: who is let in, who is not, and what happens when certificates change while it serves.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod access;
mod client;
mod docker;
mod endpoint;
mod renewal;
mod streams;

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_provision::certs::{Authority, Pair};
use support::World;
use support::engine::{self, Engine};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A machine whose engine is reached over TLS.
fn machine(world: &World, name: &str) -> Engine {
    world.create(&[name]).ok();
    let engine = engine::install(world, name);
    world.berth(&["start", name]).ok();
    world.berth(&["certs", "enable", name]).ok();
    engine
}

/// The port of a machine's endpoint.
fn port(world: &World, name: &str) -> u16 {
    let url = world.berth(&["url", "--tls", name]).ok().stdout;
    let (host, port) = url.trim().rsplit_once(':').unwrap();
    assert_eq!(host, "tcp://127.0.0.1");
    port.parse().unwrap()
}

/// The files that a client of the machine has.
fn files(world: &World, name: &str) -> PathBuf {
    world.file(name, "tls")
}

fn pair(folder: &Path) -> Pair {
    Pair {
        certificate: fs::read_to_string(folder.join("cert.pem")).unwrap(),
        key: fs::read_to_string(folder.join("key.pem")).unwrap(),
    }
}

/// Berth's CA, as somebody has it who took its key.
fn authority(world: &World) -> Authority {
    let keys: Vec<PathBuf> = fs::read_dir(world.data().join("secrets"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
    Authority::load(&Pair {
        certificate: fs::read_to_string(world.data().join("ca/ca.pem")).unwrap(),
        key: fs::read_to_string(&keys[0]).unwrap(),
    })
    .unwrap()
}
