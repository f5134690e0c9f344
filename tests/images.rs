//! Images from distributors' servers and from anywhere: downloaded, checked, stored once, and refused with a reason.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod http;
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Answer, Server, sha256};
use serde_json::Value;
use snapbox::{assert_data_eq, str};
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
    let left: Vec<String> = ["images", "images/refs", "images/tmp"]
        .iter()
        .flat_map(|folder| fs::read_dir(world.path(folder)).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !["refs", "tmp", "locks", "lock"].contains(&name.as_str()))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_cloud_image_is_pulled_once_and_listed() {
    let world = World::new();
    let bytes = disk(&world);
    let list = sums(&bytes);
    let server = Server::new(move |request| match request.path.as_str() {
        "/disk.img" => Answer::file(request, &bytes),
        "/SUMS" => Answer::text(&list),
        _ => Answer::status(404),
    });
    plain_entry(&world, "some", &server);
    assert_eq!(listed(&world, "some")["stored"], false);
    let first = world.berth(&["image", "pull", "some"]).ok();
    assert!(first.stdout.starts_with("sha256:"));
    let again = world
        .berth(&["image", "pull", "some"])
        .ok()
        .says("SUMS over http");
    assert_eq!(first.stdout, again.stdout);
    assert_eq!(server.asked_for("/disk.img").len(), 1);
    let row = listed(&world, "some");
    assert_eq!(row["stored"], true);
    assert_eq!(row["disk"], 8 << 20);
    assert_eq!(row["used"], Value::Null);
    world.berth(&["image", "inspect", "--verify", "some"]).ok();

    // A driver that cannot hand over a seed says so before anything is made.
    let refused = world.berth(&[
        "create", "web1", "-d", "sshd", "--engine", "none", "--image", "some",
    ]);
    assert_data_eq!(
        told(&refused.code(4)),
        str![[r#"
exit 4
berth: machine web1: the sshd driver cannot set up images by cloud-init: it boots those that berth built

"#]]
    );
    assert_eq!(world.row("web1"), Value::Null);
}

#[test]
fn what_is_not_as_the_distributor_says_is_refused() {
    let world = World::new();
    let good = disk(&world);
    let mut flipped = good.clone();
    flipped[5000] ^= 1;
    let mut backed = good.clone();
    backed[8..16].copy_from_slice(&1024_u64.to_be_bytes());
    let bomb = world.path("bomb");
    fs::write(&bomb, vec![0; 200 << 20]).unwrap();
    let packed = Command::new("xz")
        .arg("-1c")
        .arg(&bomb)
        .output()
        .unwrap()
        .stdout;
    let right = sums(&good);
    let lists = [
        ("/backed/SUMS", sums(&backed)),
        ("/bomb/SUMS", sums(&packed)),
        ("/text/SUMS", sums(b"hello")),
        ("/other/SUMS", right.replace("disk.img", "else.img")),
        ("/html/SUMS", "<html>not found</html>".into()),
    ];
    let server = Server::new(move |request| {
        let list = lists.iter().find(|(path, _)| *path == request.path);
        match (list, request.path.as_str()) {
            (Some((_, list)), _) => Answer::text(list),
            (_, "/gone/SUMS") => Answer::status(404),
            (_, "/broken/SUMS") => Answer::status(500),
            (_, "/flood/SUMS") => Answer::endless(),
            (_, path) if path.ends_with("/SUMS") => Answer::text(&right),
            (_, "/flipped/disk.img") => Answer::file(request, &flipped),
            (_, "/backed/disk.img") => Answer::file(request, &backed),
            (_, "/bomb/disk.img") => Answer::file(request, &packed),
            (_, "/text/disk.img") => Answer::text("hello"),
            (_, "/loop/disk.img") => Answer::redirect("/loop/disk.img"),
            (_, "/downgrade/disk.img") => Answer::redirect("http://example.org/disk.img"),
            (_, "/endless/disk.img") => Answer::endless(),
            _ => Answer::status(403),
        }
    });
    let mut all = String::new();
    for case in [
        "flipped",
        "other",
        "html",
        "gone",
        "broken",
        "flood",
        "loop",
        "downgrade",
        "endless",
        "bomb",
        "backed",
        "text",
        "forbidden",
    ] {
        let url = format!("{}/{case}/disk.img", server.address());
        let rest = format!("checksums = \"SUMS\"\n[urls]\nx86_64 = [\"{url}\"]\n");
        entry(&world, case, &rest);
        let ran = world
            .berth(&["--quiet-progress", "image", "pull", case])
            .code(1);
        all += &format!("$ berth image pull {case}\n{}\n", told(&ran));
        nothing_is_stored(&world);
    }
    assert_data_eq!(
        all,
        str![[r#"
$ berth image pull flipped
exit 1
berth: the image flipped could not be had
  http://127.0.0.1:PORT/flipped/disk.img: what came has sha256:HEX, and the distributor says sha256:HEX
hint: nothing that is not as its distributor says was kept; try again later, or another image

$ berth image pull other
exit 1
berth: the image other could not be had
  http://127.0.0.1:PORT/other/disk.img: SUMS: it has no checksum for disk.img
hint: nothing that is not as its distributor says was kept; try again later, or another image

$ berth image pull html
exit 1
berth: the image html could not be had
  http://127.0.0.1:PORT/html/disk.img: SUMS: it has no checksum for disk.img
hint: nothing that is not as its distributor says was kept; try again later, or another image

$ berth image pull gone
exit 1
berth: the image gone could not be had
  http://127.0.0.1:PORT/gone/disk.img: SUMS: the server answers 404 Not Found
hint: check the network; what has come is kept, and the same command goes on from there

$ berth image pull broken
exit 1
berth: the image broken could not be had
  http://127.0.0.1:PORT/broken/disk.img: SUMS: the server answers 500 Internal Server Error
hint: check the network; what has come is kept, and the same command goes on from there

$ berth image pull flood
exit 1
berth: the image flood could not be had
  http://127.0.0.1:PORT/flood/disk.img: SUMS: it is longer than 1 MiB, which no such file is
hint: check the network; what has come is kept, and the same command goes on from there

$ berth image pull loop
exit 1
berth: the image loop could not be had
  http://127.0.0.1:PORT/loop/disk.img: it redirects more than 8 times
hint: check the network; what has come is kept, and the same command goes on from there

$ berth image pull downgrade
exit 1
berth: the image downgrade could not be had
  http://127.0.0.1:PORT/downgrade/disk.img: it redirects to plain HTTP
hint: check the network; what has come is kept, and the same command goes on from there

$ berth image pull endless
exit 1
berth: the image endless could not be had
  http://127.0.0.1:PORT/endless/disk.img: the server does not say how long it is
hint: check the network; what has come is kept, and the same command goes on from there

$ berth image pull bomb
exit 1
berth: the image bomb could not be had
  http://127.0.0.1:PORT/bomb/disk.img: it is no disk image that can be used: it unpacks to more than any disk of its size does
hint: nothing that is not as its distributor says was kept; try again later, or another image

$ berth image pull backed
exit 1
berth: the image backed could not be had
  http://127.0.0.1:PORT/backed/disk.img: it refers to another file (a backing file)
hint: nothing that is not as its distributor says was kept; try again later, or another image

$ berth image pull text
exit 1
berth: the image text could not be had
  http://127.0.0.1:PORT/text/disk.img: it is no disk image that can be used: it has neither a disk image's header nor a partition table
hint: nothing that is not as its distributor says was kept; try again later, or another image

$ berth image pull forbidden
exit 1
berth: the image forbidden could not be had
  http://127.0.0.1:PORT/forbidden/disk.img: the server answers 403 Forbidden
hint: check the network; what has come is kept, and the same command goes on from there


"#]]
    );
}

#[test]
fn sources_are_tried_in_order() {
    let world = World::new();
    let bytes = disk(&world);
    let list = sums(&bytes);
    let server = Server::new(move |request| match request.path.as_str() {
        "/two/disk.img" => Answer::file(request, &bytes),
        "/two/SUMS" | "/one/SUMS" => Answer::text(&list),
        _ => Answer::status(404),
    });
    let at = server.address();
    let rest = format!(
        "checksums = \"SUMS\"\n[urls]\nx86_64 = [\"http://127.0.0.1:9/disk.img\", \"{at}/one/disk.img\", \"{at}/two/disk.img\"]\n"
    );
    entry(&world, "some", &rest);
    world.berth(&["image", "pull", "some"]).ok();
    let image = world.berth(&["image", "inspect", "some"]).ok().stdout;
    assert!(image.contains("/two/disk.img"), "{image}");
}

#[test]
fn the_newest_version_is_found_by_a_pattern() {
    let world = World::new();
    let bytes = disk(&world);
    let hex = sha256(&bytes);
    let list = format!("{hex}  os-2026.1-x86_64.qcow2\n{hex}  os-2026.1-x86_64.ova\n");
    let server = Server::new(move |request| match request.path.as_str() {
        "/latest/SUMS" => Answer::redirect("/2026.1/SUMS"),
        "/2026.1/SUMS" => Answer::text(&list),
        "/2026.1/os-2026.1-x86_64.qcow2" => Answer::file(request, &bytes),
        _ => Answer::status(404),
    });
    let url = format!("{}/latest/os-*-x86_64.qcow2", server.address());
    let rest = format!("checksums = \"SUMS\"\n[urls]\nx86_64 = [\"{url}\"]\n");
    entry(&world, "some", &rest);
    world.berth(&["image", "pull", "some"]).ok();
    let image = world.berth(&["image", "inspect", "some"]).ok().stdout;
    assert!(image.contains("/2026.1/os-2026.1-x86_64.qcow2"), "{image}");
}

#[test]
fn a_download_goes_on_where_it_broke_off() {
    let world = World::new();
    let bytes = disk(&world);
    let (list, count) = (sums(&bytes), AtomicUsize::new(0));
    let server = Server::new(move |request| match request.path.as_str() {
        // The line breaks twice.
        "/disk.img" if count.fetch_add(1, Ordering::SeqCst) < 2 => {
            Answer::file(request, &bytes).cut_after(70_000)
        }
        "/disk.img" => Answer::file(request, &bytes),
        _ => Answer::text(&list),
    });
    plain_entry(&world, "some", &server);
    world.berth(&["image", "pull", "some"]).ok();
    let asked = server.asked_for("/disk.img");
    let from: Vec<_> = asked
        .iter()
        .map(|r| r.headers.get("range").cloned())
        .collect();
    assert_eq!(
        from,
        [
            None,
            Some("bytes=70000-".into()),
            Some("bytes=140000-".into())
        ]
    );
    assert!(asked[1].headers.contains_key("if-range"));
}

#[test]
fn a_berth_that_was_killed_leaves_its_half_to_the_next_one() {
    let world = World::new();
    // Long enough that some of it reaches the disk at once.
    let mut bytes: Vec<u8> = (0..8_u32 << 20)
        .map(|at| (at.wrapping_mul(at) >> 9) as u8)
        .collect();
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    let (list, count) = (sums(&bytes), AtomicUsize::new(0));
    let server = Server::new(move |request| match request.path.as_str() {
        "/disk.img" if count.fetch_add(1, Ordering::SeqCst) == 0 => {
            Answer::file(request, &bytes).slowly_after(5 << 20)
        }
        "/disk.img" => Answer::file(request, &bytes),
        _ => Answer::text(&list),
    });
    plain_entry(&world, "some", &server);
    let mut first = world.background(&["image", "pull", "some"]);
    support::eventually("something has come", || {
        let parts = fs::read_dir(world.path("images/tmp"));
        parts.into_iter().flatten().flatten().any(|entry| {
            let name = entry.file_name().into_string().unwrap();
            !name.contains('.')
                && name.starts_with("part-")
                && entry.metadata().is_ok_and(|m| m.len() > 0)
        })
    });
    first.kill().unwrap();
    first.wait().unwrap();
    let told = world.berth(&["image", "prune", "--dry-run"]).ok();
    assert!(
        told.stdout.contains("a download that broke off"),
        "{told:?}"
    );
    world.berth(&["image", "pull", "some"]).ok();
    let asked = server.asked_for("/disk.img");
    assert!(asked[1].headers["range"].starts_with("bytes="), "{asked:?}");
    assert!(
        world
            .berth(&["image", "prune", "--dry-run"])
            .ok()
            .stdout
            .is_empty()
    );
}

#[test]
fn a_server_that_sends_more_than_the_rest_is_left() {
    let world = World::new();
    let bytes = disk(&world);
    let (list, count, total) = (sums(&bytes), AtomicUsize::new(0), bytes.len());
    let server = Server::new(move |request| match request.path.as_str() {
        "/disk.img" if count.fetch_add(1, Ordering::SeqCst) == 0 => {
            Answer::file(request, &bytes).cut_after(70_000)
        }
        "/disk.img" => Answer::endless_rest(70_000, total),
        _ => Answer::text(&list),
    });
    plain_entry(&world, "some", &server);
    let ran = world.berth(&["image", "pull", "some"]).code(1);
    ran.says("it sends more than");
}

#[test]
fn a_download_that_was_whole_already_is_only_checked() {
    let world = World::new();
    let bytes = disk(&world);
    let (list, count) = (sums(&bytes), AtomicUsize::new(0));
    let part = world.path("images/tmp");
    let server = Server::new(move |request| match request.path.as_str() {
        "/disk.img" if count.fetch_add(1, Ordering::SeqCst) == 0 => {
            Answer::file(request, &bytes).cut_after(70_000)
        }
        "/disk.img" => {
            // As if berth had been killed after the last byte.
            let parts = fs::read_dir(&part)
                .unwrap()
                .map(|entry| entry.unwrap().path());
            let mut parts = parts.filter(|path| path.display().to_string().contains("part-"));
            let half = parts.find(|path| path.extension().is_none()).unwrap();
            fs::write(half, &bytes).unwrap();
            match request.headers["range"].as_str() {
                "bytes=70000-" => Answer::status(503),
                _ => Answer::file(request, &bytes),
            }
        }
        _ => Answer::text(&list),
    });
    plain_entry(&world, "some", &server);
    world.berth(&["image", "pull", "some"]).ok();
    assert_eq!(server.asked_for("/disk.img").len(), 3);
}

#[test]
fn a_file_that_changed_meanwhile_is_downloaded_anew() {
    let world = World::new();
    let new = disk(&world);
    let old = [new.clone(), vec![1; 9000]].concat();
    let (list, count) = (sums(&new), AtomicUsize::new(0));
    let server = Server::new(move |request| match request.path.as_str() {
        "/disk.img" if count.fetch_add(1, Ordering::SeqCst) == 0 => {
            Answer::file(request, &old).cut_after(70_000)
        }
        "/disk.img" => Answer::file(request, &new),
        _ => Answer::text(&list),
    });
    plain_entry(&world, "some", &server);
    world.berth(&["image", "pull", "some"]).ok();
    assert_eq!(server.asked_for("/disk.img").len(), 2);
}

#[test]
fn of_two_pulls_at_once_one_downloads() {
    let world = World::new();
    let bytes = disk(&world);
    let list = sums(&bytes);
    let server = Server::new(move |request| match request.path.as_str() {
        "/disk.img" => Answer::file(request, &bytes).after(Duration::from_secs(1)),
        _ => Answer::text(&list),
    });
    plain_entry(&world, "some", &server);
    let both = [(); 2].map(|()| world.background(&["image", "pull", "some"]));
    let [one, two] = both.map(|child| world.wait(child).ok());
    assert_eq!(one.stdout, two.stdout);
    assert_eq!(server.asked_for("/disk.img").len(), 1);
    let waited = "Waiting for another berth that downloads the same image";
    assert!(
        one.stderr.contains(waited) != two.stderr.contains(waited),
        "{one:?} {two:?}"
    );
}

#[test]
fn memory_stays_flat_however_large_the_disk_is() {
    let world = World::new();
    let mut bytes = vec![0; 256 << 20];
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    let (list, bytes) = (sums(&bytes), Arc::new(bytes));
    let server = Server::new(move |request| match request.path.as_str() {
        "/disk.img" => Answer::file(request, &bytes),
        _ => Answer::text(&list),
    });
    plain_entry(&world, "large", &server);
    let mut child = world.background(&["image", "pull", "large"]);
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|kib| kib.split_whitespace().next()?.parse().ok());
        most = most.max(peak.unwrap_or(0_u64));
        std::thread::sleep(Duration::from_millis(5));
    }
    world.wait(child).ok();
    println!("{most} KiB at most");
    assert!((1..64 << 10).contains(&most), "{most} KiB");
}

/// The keys that berth brings are those that its catalog pins.
#[test]
fn every_pinned_key_is_the_one_that_is_brought() {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
    let mut pinned = 0;
    for file in walk(&images.join("recipes")) {
        let Ok(entry) = fs::read_to_string(&file).unwrap().parse::<toml::Table>() else {
            continue;
        };
        let Some(key) = entry.get("key").and_then(|key| key.as_str()) else {
            continue;
        };
        let keyring = images.join("keys").join(entry["keyring"].as_str().unwrap());
        let home = tempfile::tempdir().unwrap();
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(home.path());
        let out = gpg
            .args(["--show-keys", "--with-colons"])
            .arg(&keyring)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        let first = text.lines().find(|line| line.starts_with("fpr:"));
        assert!(
            first.unwrap().contains(&format!(":{key}:")),
            "{}",
            file.display()
        );
        pinned += 1;
    }
    assert!(pinned >= 5, "{pinned}");
}

/// A signer's key, made by gpg as distributors make theirs.
struct Signer {
    home: tempfile::TempDir,
}

impl Signer {
    fn new() -> Signer {
        let signer = Signer {
            home: tempfile::Builder::new()
                .prefix("bg-")
                .tempdir_in("/tmp")
                .unwrap(),
        };
        signer.gpg(&[
            "--quick-gen-key",
            "Someone <some@one>",
            "ed25519",
            "sign",
            "never",
        ]);
        signer
    }

    fn gpg(&self, args: &[&str]) -> Vec<u8> {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(self.home.path());
        let out = gpg
            .args([
                "--batch",
                "--quiet",
                "--no-tty",
                "--pinentry-mode",
                "loopback",
                "--passphrase",
                "",
            ])
            .args(args)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        out.stdout
    }

    fn fingerprint(&self) -> String {
        let keys = String::from_utf8(self.gpg(&["--list-keys", "--with-colons"])).unwrap();
        let line = keys.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    fn sign(&self, how: &str, text: &str) -> Vec<u8> {
        let file = self.home.path().join("text");
        fs::write(&file, text).unwrap();
        self.gpg(&["--output", "-", how, file.to_str().unwrap()])
    }

    /// Puts the key where a user's catalog entries find it.
    fn publish(&self, world: &World, name: &str) {
        let folder = world.path("home/.config/berth/recipes/keys");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), self.gpg(&["--export"])).unwrap();
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        let mut gpgconf = Command::new("gpgconf");
        let _ = gpgconf
            .arg("--homedir")
            .arg(self.home.path())
            .args(["--kill", "all"])
            .status();
    }
}

#[test]
fn only_what_the_pinned_key_signed_is_believed() {
    let world = World::new();
    let (signer, stranger) = (Signer::new(), Signer::new());
    signer.publish(&world, "signer.gpg");
    let bytes = disk(&world);
    let list = sums(&bytes);
    let forged = sums(b"something else");
    let clear = String::from_utf8(signer.sign("--clear-sign", &list)).unwrap();
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("/good/SUMS", list.clone().into()),
        ("/good/SUMS.sig", signer.sign("--detach-sign", &list)),
        ("/clear/SUMS", clear.clone().into()),
        // Text around what was signed is not signed.
        ("/around/SUMS", format!("{forged}{clear}").into()),
        ("/changed/SUMS", forged.clone().into()),
        ("/changed/SUMS.sig", signer.sign("--detach-sign", &list)),
        ("/stranger/SUMS", list.clone().into()),
        ("/stranger/SUMS.sig", stranger.sign("--detach-sign", &list)),
        ("/unsigned/SUMS", list.into()),
    ];
    let server = Server::new(move |request| {
        let file = files.iter().find(|(path, _)| *path == request.path);
        match file {
            Some((_, text)) => Answer::bytes(text),
            None if request.path.ends_with("disk.img") => Answer::file(request, &bytes),
            None => Answer::status(404),
        }
    });
    let make = |name: &str, signature: &str, key: &str| {
        let url = format!("{}/{name}/disk.img", server.address());
        let rest = format!(
            "checksums = \"SUMS\"\nsignature = \"{signature}\"\nkey = \"{key}\"\nkeyring = \"signer.gpg\"\n[urls]\nx86_64 = [\"{url}\"]\n"
        );
        entry(&world, name, &rest);
        world.berth(&["image", "pull", name])
    };
    let ours = signer.fingerprint();
    for (name, signature) in [
        ("good", "SUMS.sig"),
        ("clear", "inline"),
        ("around", "inline"),
    ] {
        make(name, signature, &ours)
            .ok()
            .says(&format!("signed by {ours}"));
    }
    for (name, signature, key, words) in [
        ("changed", "SUMS.sig", &ours, "BAD signature"),
        ("stranger", "SUMS.sig", &ours, "No public key"),
        ("unsigned", "SUMS.sig", &ours, "404"),
        ("unsigned", "inline", &ours, "not signed by"),
        (
            "good",
            "SUMS.sig",
            &stranger.fingerprint(),
            "another key signed it",
        ),
    ] {
        make(name, signature, key).code(1).says(words);
    }
}

#[test]
fn a_disk_at_any_address_is_taken_with_its_digest() {
    let world = World::new();
    let bytes = disk(&world);
    let digest = format!("sha256:{}", sha256(&bytes));
    let server = Server::new(move |request| match request.path.as_str() {
        "/my.img?key=secret" => Answer::file(request, &bytes),
        _ => Answer::status(404),
    });
    let url = format!("{}/my.img?key=secret", server.address());
    let pull = |digest: &str| {
        world.berth(&[
            "--quiet-progress",
            "image",
            "pull",
            &url,
            "--digest",
            digest,
        ])
    };
    let wrong = format!("sha256:{}", "0".repeat(64));
    assert_data_eq!(
        told(&pull(&wrong)),
        str![[r#"
exit 1
berth: http://127.0.0.1:PORT/my.img is not what it should be: it has sha256:HEX, not sha256:HEX
hint: nothing of it was kept; compare the digest with the distributor's

"#]]
    );
    nothing_is_stored(&world);
    pull(&digest).ok().says("the digest that the user gave");
    let asked = server.asked_for("/my.img?key=secret").len();
    pull(&digest).ok();
    assert_eq!(server.asked_for("/my.img?key=secret").len(), asked);
    // Without a digest it is taken as it comes, and berth tells how to insist on it.
    world
        .berth(&["image", "pull", &url])
        .ok()
        .says(&format!("--digest {digest}"));
    for file in walk(&world.path("images")) {
        let text = fs::read(&file).unwrap();
        assert!(
            !String::from_utf8_lossy(&text).contains("secret"),
            "{}",
            file.display()
        );
    }

    // From elsewhere, nobody would notice a change on the way.
    let mut all = String::new();
    for args in [
        &["image", "pull", "http://example.org/my.img"][..],
        &["image", "pull", "https://me:pass@example.org/my.img"],
        &["image", "pull", "debian-13"],
        &["image", "pull", "debain-13"],
        &["image", "pull", "ubuntu-24.04", "--digest", &digest],
        &[
            "create",
            "web1",
            "-d",
            "qemu",
            "--image",
            "debian-13",
            "--digest",
            &digest,
        ],
        &[
            "create",
            "web1",
            "-d",
            "qemu",
            "--image",
            "debian-13",
            "--digest",
            "md5:00",
        ],
        &[
            "create",
            "web1",
            "-d",
            "qemu",
            "--cloud-init",
            "/etc/hostname",
        ],
        &[
            "create",
            "web1",
            "-d",
            "qemu",
            "--image",
            "ubuntu-24.04",
            "--cloud-init",
            "/etc/passwd",
        ],
        &["create", "web1", "-d", "uml", "--image", "fedora"],
    ] {
        let ran = world.berth(args);
        assert_ne!(ran.code, 0);
        all += &format!(
            "$ berth {}\n{}\n",
            args.join(" ").replace(&digest, "DIGEST"),
            told(&ran)
        );
    }
    assert_data_eq!(
        all,
        str![[r#"
$ berth image pull http://example.org/my.img
exit 2
berth: http://example.org/my.img comes over plain HTTP, and nothing tells what it should be
hint: use its https address, or say what it is with --digest sha256:…

$ berth image pull https://me:pass@example.org/my.img
exit 2
berth: "example.org" is not the name of an image: an address with a password in it is not taken

$ berth image pull debian-13
exit 2
berth: debian-13 is built here: `berth image build debian-13`

$ berth image pull debain-13
exit 3
berth: there is no image debain-13; did you mean debian-13?
hint: `berth image ls` lists them

$ berth image pull ubuntu-24.04 --digest DIGEST
exit 2
berth: --digest goes with one address

$ berth create web1 -d qemu --image debian-13 --digest DIGEST
exit 2
berth: --digest: debian-13 is a name; it goes with an address or a path

$ berth create web1 -d qemu --image debian-13 --digest md5:00
exit 2
error: invalid value 'md5:00' for '--digest <DIGEST>': a digest is sha256: and 64 hex digits, or sha512: and 128

For more information, try '--help'.

$ berth create web1 -d qemu --cloud-init /etc/hostname
exit 2
berth: --cloud-init: debian-13-docker is an image of berth's, which has no cloud-init

$ berth create web1 -d qemu --image ubuntu-24.04 --cloud-init /etc/passwd
exit 2
berth: --cloud-init /etc/passwd: it begins with none of #cloud-config, #!, #include, #cloud-boothook, #part-handler, ## template: jinja

$ berth create web1 -d uml --image fedora
exit 4
berth: machine web1: the uml driver cannot set up images by cloud-init: it boots those that berth built


"#]]
    );
}

/// Runs a program of this computer.
fn tool(program: &str, args: &[&str]) {
    let out = Command::new(program).args(args).output().unwrap();
    let words = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {args:?}: {words}");
}

#[test]
fn disks_of_every_format_come_out_as_they_went_in() {
    let world = World::new();
    let path = |name: &str| world.path(name).display().to_string();
    let mut content: Vec<u8> = (0..4_u32 << 20).map(|at| (at >> 12) as u8).collect();
    content[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(path("disk.raw"), &content).unwrap();
    let convert = |options: &str, to: &str| {
        let args = format!("convert -f raw {options} {} {}", path("disk.raw"), path(to));
        tool("qemu-img", &args.split_whitespace().collect::<Vec<_>>());
    };
    convert("-O vmdk -o subformat=streamOptimized", "stream.vmdk");
    convert("-O vmdk", "sparse.vmdk");
    convert("-O vhdx", "disk.vhdx");
    convert("-O qcow2 -c", "disk.qcow2");
    convert("-O vmdk -o subformat=twoGbMaxExtentSparse", "many.vmdk");
    tool("xz", &["-k", &path("disk.raw")]);
    tool("gzip", &["-k", &path("disk.qcow2")]);
    let folder = world.path("");
    let server = Server::new(move |request| {
        Answer::file(request, &fs::read(folder.join(&request.path[1..])).unwrap())
    });
    for name in [
        "disk.raw",
        "stream.vmdk",
        "sparse.vmdk",
        "disk.vhdx",
        "disk.qcow2",
        "disk.raw.xz",
        "disk.qcow2.gz",
    ] {
        let url = format!("{}/{name}", server.address());
        let digest = world.berth(&["image", "pull", &url]).ok().stdout;
        let stored = format!("images/{}/disk.qcow2", digest.trim().replace(':', "-"));
        let args = [
            "convert",
            "-f",
            "qcow2",
            "-O",
            "raw",
            &path(&stored),
            &path("back"),
        ];
        tool("qemu-img", &args);
        // VMDK rounds sizes up.
        let back = fs::read(path("back")).unwrap();
        assert!(back.starts_with(&content), "{name}");
        assert!(
            back[content.len()..].iter().all(|byte| *byte == 0),
            "{name}"
        );
    }
    let url = format!("{}/many.vmdk", server.address());
    let refused = world.berth(&["image", "pull", &url]).code(2);
    refused.says("it refers to another file (a VMDK in several files)");
}

#[test]
fn what_a_later_pull_replaced_can_be_pruned() {
    let world = World::new();
    let first = disk(&world);
    let mut second = first.clone();
    // After the header: unused space in a qcow2.
    second.extend([0; 65536]);
    let (turn, old) = (Arc::new(AtomicUsize::new(0)), sha256(&first));
    let now = turn.clone();
    let server = Server::new(move |request| {
        let bytes = if now.load(Ordering::SeqCst) == 0 {
            &first
        } else {
            &second
        };
        match request.path.as_str() {
            "/disk.img" => Answer::file(request, bytes),
            _ => Answer::text(&sums(bytes)),
        }
    });
    plain_entry(&world, "some", &server);
    let one = world.berth(&["image", "pull", "some"]).ok().stdout;
    turn.store(1, Ordering::SeqCst);
    let two = world.berth(&["image", "pull", "some"]).ok().stdout;
    assert_ne!(one, two);
    // Just made, it may be on its way into a machine.
    assert!(
        world
            .berth(&["image", "prune", "--yes"])
            .ok()
            .stdout
            .is_empty()
    );
    let folder = world.path("images").join(one.trim().replace(':', "-"));
    let description = fs::read_to_string(folder.join("image.toml")).unwrap();
    assert!(description.contains(&old));
    let year = description.find("created = \"20").unwrap() + "created = \"".len();
    let mut aged = description.clone();
    aged.replace_range(year..year + 4, "2020");
    fs::write(folder.join("image.toml"), aged).unwrap();
    world.berth(&["image", "prune"]).code(2).says("--yes");
    let would = world.berth(&["image", "prune", "--dry-run"]).ok().stdout;
    assert!(would.contains(&one[..19]) && folder.exists(), "{would}");
    assert_eq!(world.berth(&["image", "prune", "--yes"]).ok().stdout, would);
    assert!(!folder.exists());
    assert_eq!(listed(&world, "some")["digest"], two.trim());
}

#[test]
fn a_machine_of_a_file_notes_its_use_and_keeps_its_image() {
    let world = World::new();
    let digest = format!("sha256:{}", sha256(&disk(&world)));
    let args = world.create_args(&["web1", "--digest", &digest]);
    world
        .berth(&args.iter().map(String::as_str).collect::<Vec<_>>())
        .ok();
    let rows = world.berth(&["image", "ls", "--json"]).ok().stdout;
    let rows: Value = serde_json::from_str(&rows).unwrap();
    let stored = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["stored"] == true)
        .unwrap();
    assert!(stored["used"].as_str().unwrap().starts_with("20"));
    assert!(
        world
            .berth(&["image", "prune", "--dry-run"])
            .ok()
            .stdout
            .is_empty()
    );
    let wrong = format!("sha256:{}", "0".repeat(64));
    let args = world.create_args(&["web2", "--digest", &wrong]);
    world
        .berth(&args.iter().map(String::as_str).collect::<Vec<_>>())
        .code(1)
        .says("is not what it should be");
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
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
