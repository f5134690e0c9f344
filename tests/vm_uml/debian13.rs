//! A computer with Debian 13, as far as its programs are concerned: a folder with them, in a mount namespace of the
//! test's own.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::vm::{BOOT, Host, assert_nothing_left, image};

/// What berth needs there to make machines of stored images, and the client.
const PACKAGES: &str = "qemu-system-x86,qemu-utils,openssh-client,docker-cli,ca-certificates";

/// Packages come over the network.
const BUILD: Duration = Duration::from_secs(900);

/// The folder, made once and kept.
fn folder(host: &Host) -> PathBuf {
    let folder = host.cache().join("debian-13-host");
    if !folder.exists() {
        let draft = host.cache().join("debian-13-host.new");
        let _ = fs::remove_dir_all(&draft);
        host.run("mmdebstrap", "--quiet --variant=minbase trixie")
            .arg(format!("--include={PACKAGES}"))
            .args([draft.to_str().unwrap(), "http://deb.debian.org/debian"])
            .deadline(BUILD)
            .ok();
        fs::rename(draft, &folder).unwrap();
    }
    folder
}

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn machines_run_on_debian_13() {
    let host = Host::with("uml");
    let inside = format!(
        "grep -q ^13 /etc/debian_version; ./berth create here --image {image}; \
         docker --context here version --format {{{{.Server.Version}}}}; \
         ./berth stop here; ./berth start here; ./berth ssh here -- uname -r; ./berth rm --yes here",
        image = image("debian-13-docker")
    );
    let script = "cp $BERTH berth; r=$0; mount --bind $r $r; \
                  for f in /proc /dev /sys; do mount --bind $f $r$f; done; mount -t tmpfs none $r/dev/shm; \
                  for f in $PWD $BERTH_IMAGES; do mkdir -p $r$f; mount --bind $f $r$f; done; \
                  exec chroot $r env PATH=/usr/sbin:/usr/bin:/sbin:/bin bash -euc \"cd $PWD; $1\"";
    let root = folder(&host).display().to_string();
    let out = host
        .run("unshare", "--mount bash -euc")
        .args([script, &root, &inside])
        .deadline(BOOT)
        .ok();
    assert!(out.stdout.contains("26.1.5"), "{}", out.stdout);
    assert_nothing_left(&host);
}
