//! Images in registries: pushed to docker's own registry and pulled from it, and refused where a registry lies.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod artifact;
mod credentials;
#[path = "../http/mod.rs"]
mod http;
mod lies;
mod refused;
mod registry;
mod round_trip;
#[path = "../support/mod.rs"]
mod support;

use support::Ran;

/// What was said, without digests.
fn told(ran: &Ran) -> String {
    let mut out = String::new();
    for word in ran.told().split_inclusive([' ', '\n', ',', ':', '@']) {
        let bare = word.trim_end_matches([' ', '\n', ',', ':', '@']);
        let hex = bare.len() >= 40 && bare.bytes().all(|b| b.is_ascii_hexdigit());
        match hex {
            true => out += &word.replace(bare, "HEX"),
            false => out += word,
        }
    }
    out
}
