//! Every driver keeps what every driver promises, with real guests.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod vm;

use std::time::Duration;

use vm::{Host, assert_nothing_left, image};

/// Four boots.
const LIVES: Duration = Duration::from_secs(900);

fn keeps_its_promises(driver: &'static str) {
    let host = Host::with(driver);
    let out = host
        .berth("driver check --memory 512M --image")
        .args([image("debian-13"), driver.into()])
        .deadline(LIVES)
        .ok();
    println!("{}", out.stdout);
    assert_nothing_left(&host);
}

#[test]
#[ignore = "boots a VM; cargo xtask test runs it"]
fn qemu_keeps_its_promises() {
    keeps_its_promises("qemu");
}

#[test]
#[ignore = "boots a VM; cargo xtask test runs it"]
fn uml_keeps_its_promises() {
    keeps_its_promises("uml");
}
