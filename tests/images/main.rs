//! Images from distributors' servers and from anywhere: downloaded, checked, stored once, and refused with a reason.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod any;
mod download;
#[path = "../http/mod.rs"]
mod http;
mod prune;
mod pull;
mod refused;
mod signature;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use http::{Server, sha256};
use serde_json::Value;
use support::{Ran, World};

/// A catalog entry in the user's folder.
fn entry(world: &World, name: &str, rest: &str) {
    let folder = world.path("home/.config/berth/recipes");
    fs::create_dir_all(&folder).unwrap();
    let text = format!("family = \"cloud\"\nos = \"Some OS\"\n{rest}");
    fs::write(folder.join(format!("{name}.toml")), text).unwrap();
}

/// An entry whose disk and checksum file are on one server.
fn plain_entry(world: &World, name: &str, server: &Server) {
    let urls = format!("x86_64 = [\"{}/disk.img\"]", server.address());
    entry(
        world,
        name,
        &format!("checksums = \"SUMS\"\n[urls]\n{urls}\n"),
    );
}

fn disk(world: &World) -> Vec<u8> {
    fs::read(world.path("tiny.qcow2")).unwrap()
}

fn sums(bytes: &[u8]) -> String {
    format!("{} *disk.img\n", sha256(bytes))
}

/// What was said, without digests and sizes that differ from one qemu-img to the next.
fn told(ran: &Ran) -> String {
    let mut out = String::new();
    for word in ran.told().split_inclusive([' ', '\n', ',', ':']) {
        let bare = word.trim_end_matches([' ', '\n', ',', ':']);
        let hex = bare.len() >= 40 && bare.bytes().all(|b| b.is_ascii_hexdigit());
        out += &if hex {
            word.replace(bare, "HEX")
        } else {
            word.to_owned()
        };
    }
    out
}

fn listed(world: &World, name: &str) -> Value {
    let rows = world.berth(&["image", "ls", "--json"]).ok().stdout;
    let rows: Value = serde_json::from_str(&rows).unwrap();
    let row = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == name);
    row.cloned().unwrap_or(Value::Null)
}

/// Nothing but locks is left of what was refused.
fn nothing_is_stored(world: &World) {
    let left = world.stored();
    assert!(left.is_empty(), "{left:?}");
}

/// All files of a folder and of those in it.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(walk(&path)),
            false => found.push(path),
        }
    }
    found
}
