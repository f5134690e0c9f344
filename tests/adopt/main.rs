//! Hosts that run already: adopted, used, and let go again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod broken_off;
mod engines;
mod host_keys;
mod login;
mod refused;

#[path = "../support/mod.rs"]
mod support;

use support::host::Host;
use support::{Ran, World};

/// Adopts a host without looking for an engine.
fn adopt(world: &World, name: &str, host: &Host, rest: &[&str]) -> Ran {
    let options = host.options();
    let mut args = vec!["create", name, "--engine", "none"];
    args.extend(options.iter().map(String::as_str));
    args.extend(rest);
    world.berth(&args)
}
