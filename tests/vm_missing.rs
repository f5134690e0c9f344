//! A guest that never answers, and a computer without QEMU.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod vm;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vm::{BOOT, Host, assert_nothing_left, image};

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn a_guest_that_never_answers_ends_in_a_clear_error() {
    let host = Host::with("qemu");
    // Imported images go to a store of this test's own.
    let images = host.scratch().join("images");
    host.shell("qemu-img create -q -f qcow2 empty.qcow2 1G")
        .ok();
    let out = host
        .berth("create silent --image ./empty.qcow2 --engine none --timeout 20")
        .env("BERTH_IMAGES", &images)
        .exits(1);
    println!("{}", out.stderr);
    assert!(out.took > Duration::from_secs(20), "{:?}", out.took);
    assert!(out.took < Duration::from_secs(60), "{:?}", out.took);
    let out = out
        .says("machine silent did not answer within 20 s")
        .says("berth logs silent")
        .says("BdsDxe");
    // The console's words are set apart from berth's own.
    assert!(out.stderr.lines().any(|line| line.starts_with("    | ")));
    assert!(!out.stderr.contains("[2J"), "{}", out.stderr);
    let row = host.row("silent");
    assert_eq!(row["state"], "creating");
    assert!(
        row["error"]
            .as_str()
            .unwrap()
            .contains("create failed at boot"),
        "{row:#}"
    );
    host.berth("ssh silent -- true").exits(4);
    host.berth("rm --yes silent")
        .env("BERTH_IMAGES", &images)
        .ok();
    assert_nothing_left(&host);
}

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn without_qemu_it_is_said_what_is_missing_and_nothing_is_made() {
    let host = Host::with("qemu");
    let path = path_without(host.scratch());
    let berth = |line: &str| host.berth(line).env("PATH", &path);
    let image = image("debian-13-docker");
    host.berth(&format!("image build {image}"))
        .deadline(BOOT)
        .ok();
    berth(&format!("create vm1 --image {image}"))
        .exits(1)
        .says("qemu-system-x86_64")
        .says("berth doctor --fix");
    let up = berth(&format!("up --image {image}"))
        .exits(1)
        .says("qemu-system-x86_64")
        .says("berth doctor --fix");
    // What builds images is missing as well, and wanted only where one has to be built.
    assert!(!up.stderr.contains("mmdebstrap"), "{}", up.stderr);
    berth(&format!("up --image {image}"))
        .env("BERTH_IMAGES", host.scratch().join("images"))
        .exits(1)
        .says("mmdebstrap");
    let cloud = berth("up --image debian-13-cloud").exits(1);
    assert!(!cloud.stderr.contains("mmdebstrap"), "{}", cloud.stderr);
    let doctor = berth("doctor").exits(1).says("berth doctor --fix");
    assert!(
        doctor.stdout.contains("qemu-system-x86_64"),
        "{}",
        doctor.stdout
    );
    assert_eq!(berth("ls -q").text(), "");
    assert_nothing_left(&host);
}

/// All programs of this computer but QEMU and what builds images.
fn path_without(scratch: &Path) -> PathBuf {
    let folder = scratch.join("bin");
    std::fs::create_dir(&folder).unwrap();
    for from in ["/usr/bin", "/usr/sbin", "/usr/local/bin"] {
        for program in std::fs::read_dir(from).unwrap().flatten() {
            let name = program.file_name();
            let lacks = ["qemu-system", "mmdebstrap"];
            if !lacks
                .iter()
                .any(|lacks| name.to_string_lossy().starts_with(lacks))
            {
                // The same name in two folders: the first one wins, as in PATH.
                let _ = symlink(program.path(), folder.join(name));
            }
        }
    }
    folder
}
