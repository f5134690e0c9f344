//! A cloud image as distributors publish them: downloaded by its name, checked, and set up by cloud-init.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod http;
mod vm;

use std::fs;
use std::path::Path;

use http::{Answer, Server};
use vm::{BOOT, Host};

/// The user's own wishes.
const USER_DATA: &str = "#cloud-config\nssh_keys:\n  ed25519_private: not a key\nruncmd:\n- echo mine >/root/ran\n\
                         write_files:\n- path: /root/wrote\n  content: mine\n";

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn a_cloud_image_is_pulled_checked_and_set_up_by_cloud_init() {
    let host = Host::with("qemu");
    let server = serve(&vm::cloud_disk(&host));
    let entry = format!(
        "family = \"cloud\"\nos = \"A cloud\"\nchecksums = \"SHA256SUMS\"\n[urls]\nx86_64 = [\"{}/gone/disk.img\", \"{0}/disk.img\"]\n",
        server.address()
    );
    let recipes = host.home().join(".config/berth/recipes");
    fs::write(recipes.join("a-cloud.toml"), entry).unwrap();
    host.berth("image pull a-cloud").deadline(BOOT).ok();

    let own = host.home().join("mine.yaml");
    fs::write(&own, USER_DATA).unwrap();
    let made = host
        .berth("create sky --engine none --image a-cloud --timings --cloud-init")
        .arg(own.to_str().unwrap())
        .deadline(BOOT)
        .ok();
    println!("{}", made.stderr);

    // The host key is ours, or berth would not have connected; cloud-init put it there, and the user's own did not win.
    let platform = host.inside("sky", "cloud-init query platform").text();
    assert_eq!(platform, "nocloud");
    assert_eq!(host.inside("sky", "hostname").text(), "sky");
    assert_eq!(host.inside("sky", "id -un").text(), "root");
    assert_eq!(host.inside("sky", "cat /root/wrote").text(), "mine");
    assert_eq!(host.inside("sky", "cat /root/ran").text(), "mine");
    assert_eq!(
        host.inside("sky", "ls /run/credentials/@system 2>/dev/null | wc -l")
            .text(),
        "0"
    );
    assert_eq!(host.row("sky")["ssh"]["user"], "root");

    no_secret_is_left(&host);
    // The same machine after a restart: cloud-init has nothing left to do, and the key is the same.
    host.berth("restart sky --timeout 600").deadline(BOOT).ok();
    assert_eq!(host.inside("sky", "cat /root/ran").text(), "mine");
    host.berth("rm --yes sky").ok();
    host.berth("image rm a-cloud").ok();
    vm::assert_nothing_left(&host);
}

/// The disk and its checksum file, as a distributor's server has them.
fn serve(disk: &Path) -> Server {
    let bytes = fs::read(disk).unwrap();
    let sums = format!("{}  disk.img\n", http::sha256(&bytes));
    Server::new(move |request| match request.path.as_str() {
        "/disk.img" => Answer::file(request, &bytes),
        "/SHA256SUMS" => Answer::text(&sums),
        _ => Answer::status(404),
    })
}

fn no_secret_is_left(host: &Host) {
    let folder = host.machine("sky");
    assert!(!folder.join("ssh_host_ed25519_key").exists());
    let seed = fs::read(folder.join("seed.img")).unwrap();
    let text = String::from_utf8_lossy(&seed);
    assert!(text.contains("instance-id") && !text.contains("PRIVATE KEY"));
}
