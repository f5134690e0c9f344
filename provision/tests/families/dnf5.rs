//! A system with dnf 5 in a folder: Debian 12 has dnf 4 only.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use sha2::{Digest, Sha256};

/// What `mmdebstrap` is told. sid's list of packages is older here than it says that it stays good; Fedora calls dnf 5 `dnf`.
const RECIPE: &[&str] = &[
    "--quiet",
    "--mode=root",
    "--variant=essential",
    "--include=dnf5,rpm,curl",
    "--aptopt=Acquire::Check-Valid-Until \"false\"",
    "--aptopt=APT::Install-Recommends \"false\"",
    "--customize-hook=ln -s dnf5 \"$1/usr/bin/dnf\"",
    "sid",
];

/// The folder, made once and kept with what else the tests keep.
pub fn folder() -> PathBuf {
    let cache = match std::env::var_os("BERTH_TEST_CACHE") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/berth-test"),
    };
    fs::create_dir_all(&cache).unwrap();
    let hash = Sha256::digest(RECIPE.join("\n"));
    let name: String = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = cache.join(format!("dnf5-{name}"));
    // Another test program waits for this one.
    let lock = fs::File::create(cache.join("dnf5.lock")).unwrap();
    lock.lock().unwrap();
    if !folder.exists() {
        make(&folder);
    }
    folder
}

fn make(folder: &PathBuf) {
    let begun = Instant::now();
    let draft = folder.with_extension("new");
    // Of a run that broke off.
    let _ = fs::remove_dir_all(&draft);
    let made = Command::new("mmdebstrap")
        .args(RECIPE)
        .arg(&draft)
        .arg("http://deb.debian.org/debian")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{words}");
    fs::rename(&draft, folder).unwrap();
    println!("dnf 5 was unpacked in {:.1?}", begun.elapsed());
}
