//! Only what the pinned key signed is believed.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::http::{Answer, Server};
use crate::support::World;
use crate::{disk, entry, sums, walk};

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
