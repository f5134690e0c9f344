//! The seed of a machine that cloud-init sets up: a small disk for its datasource NoCloud.
//!
//! There is no network configuration in it: cloud-init then asks by DHCP on the machine's only card, in whatever form
//! the guest's distribution has its network configured.

use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_driver_api::Progress;
use berth_provision::ssh::Session;
use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};
use serde_json::json;
use tokio::time::timeout;

use super::{Error, Record, Result, identity};
use crate::store::{self, MachineFolder};

/// The user's own data may be so long (bytes).
const LONGEST: u64 = 256 << 10;

/// The disk's size in bytes: room for everything, and small enough for every kind of FAT.
const SIZE: usize = 2 << 20;

/// Between the parts of user-data; it cannot occur in base64.
const BOUNDARY: &str = "_berth_";

/// What user data begins with (cloud-init's "User-data formats").
const BEGINNINGS: &[&str] = &[
    "#cloud-config",
    "#!",
    "#include",
    "#cloud-boothook",
    "#part-handler",
    "## template: jinja",
];

/// Reads the user's own data for cloud-init.
///
/// # Errors
/// [`Error::BadRequest`] for what cloud-init would not take.
pub fn user_data(path: &Path) -> Result<String> {
    let bad = |reason: &str| Error::BadRequest {
        what: format!("--cloud-init {}", path.display()),
        reason: reason.to_owned(),
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
        .map_err(|error| bad(&error.to_string()))?;
    if bytes.len() as u64 > LONGEST {
        return Err(bad("it is longer than 256 KiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| bad("it is not text"))?;
    if !BEGINNINGS.iter().any(|word| text.starts_with(word)) {
        return Err(bad(&format!(
            "it begins with none of {}",
            BEGINNINGS.join(", ")
        )));
    }
    Ok(text)
}

/// Writes the machine's seed. The host's private key is in it as long as the guest does not have it; without that one
/// the same seed tells cloud-init, at each later start, that there is nothing left to do.
///
/// # Errors
/// If a file cannot be read or written.
pub fn write(folder: &MachineFolder, record: &Record) -> Result<()> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|error| Error::Store(store::Error::io(path)(error)))
    };
    let own = folder.user_data();
    let own = own.exists().then(|| read(&own)).transpose()?;
    let key = read(&folder.key().with_extension("pub"))?;
    let host_key = identity::host_key(folder)?;
    let host_public = identity::host_public(folder, &record.name)?;
    let meta_data = json!({
        "instance-id": record.id,
        "local-hostname": record.name,
        "public-keys": [key.trim()],
    });
    let needed = needed(host_key.as_deref(), host_public.trim());
    let path = folder.seed();
    let image = image(&[
        ("meta-data", meta_data.to_string()),
        ("user-data", user_data_with(own.as_deref(), &needed)),
    ]);
    let image = image.map_err(|error| Error::Store(store::Error::io(&path)(error)))?;
    Ok(store::write_private(&path, &image)?)
}

/// Returns when cloud-init has done all that it does at the first boot: whatever installs packages next would get in its
/// way, and the user's own commands have run. What failed of them is told, and is no reason to stop.
///
/// # Errors
/// If it does not end within `deadline`, or the connection is lost.
pub async fn carried_out(
    session: &Session,
    name: &str,
    deadline: Duration,
    progress: &dyn Progress,
) -> Result<()> {
    progress.phase("Waiting for cloud-init");
    // An imported image of berth's own has none.
    let wait =
        "command -v cloud-init >/dev/null || exit 0; exec cloud-init status --wait >/dev/null";
    let ended = timeout(deadline, session.exec(wait)).await;
    let output = ended
        .map_err(|_| Error::Timeout {
            machine: name.to_owned(),
            what: "the end of cloud-init's work".into(),
            after: deadline,
        })?
        .map_err(Error::provision(name))?;
    if !output.success() {
        progress.note(&format!(
            "cloud-init could not do everything: `berth ssh {name} -- cloud-init status --long` tells what"
        ));
    }
    Ok(())
}

/// What berth insists on. JSON is YAML, and needs no quoting of its own.
fn needed(host_key: Option<&str>, host_public: &str) -> String {
    let mut needed = json!({
        "disable_root": false,
        "allow_public_ssh_keys": true,
        // Those that the image brings are not this machine's; ours is never deleted.
        "ssh_deletekeys": host_key.is_some(),
    });
    if let Some(key) = host_key {
        needed["ssh_keys"] = json!({ "ed25519_private": key, "ed25519_public": host_public });
    }
    format!("#cloud-config\n{needed}\n")
}

/// The user's data, and what berth needs after it: a later part's keys replace an earlier one's.
fn user_data_with(own: Option<&str>, needed: &str) -> String {
    let Some(own) = own else {
        return needed.to_owned();
    };
    let mut text =
        format!("Content-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\nMIME-Version: 1.0\n\n");
    let parts = [
        ("the-users", "", own),
        ("berths", "Merge-Type: dict(replace)+list()+str()\n", needed),
    ];
    for (name, header, part) in parts {
        text.push_str(&format!(
            "--{BOUNDARY}\nContent-Type: text/plain; charset=\"utf-8\"\nContent-Transfer-Encoding: base64\n\
             Content-Disposition: attachment; filename=\"{name}\"\n{header}\n"
        ));
        // Lines of base64 have 76 characters at most (RFC 2045).
        let encoded = STANDARD.encode(part);
        for line in encoded.as_bytes().chunks(76) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
    }
    text.push_str(&format!("--{BOUNDARY}--\n"));
    text
}

/// A file system that the guest finds by its label.
fn image(files: &[(&str, String)]) -> std::io::Result<Vec<u8>> {
    let mut disk = Cursor::new(vec![0; SIZE]);
    let options = FormatVolumeOptions::new().volume_label(*b"CIDATA     ");
    fatfs::format_volume(&mut disk, options)?;
    let system = FileSystem::new(&mut disk, FsOptions::new())?;
    for (name, text) in files {
        let mut file = system.root_dir().create_file(name)?;
        file.write_all(text.as_bytes())?;
        file.flush()?;
    }
    system.unmount()?;
    Ok(disk.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(image: &[u8], name: &str) -> String {
        let mut disk = Cursor::new(image.to_vec());
        let system = FileSystem::new(&mut disk, FsOptions::new()).unwrap();
        let label = system.read_volume_label_from_root_dir_as_bytes().unwrap();
        assert_eq!(label, Some(*b"CIDATA     "));
        let mut text = String::new();
        let root = system.root_dir();
        root.open_file(name)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    #[test]
    fn a_guest_reads_what_was_written() {
        let long = "x".repeat(400_000);
        let files = [("meta-data", "{}".to_owned()), ("user-data", long.clone())];
        let image = image(&files).unwrap();
        assert_eq!(image.len(), SIZE);
        assert_eq!(read(&image, "meta-data"), "{}");
        assert_eq!(read(&image, "user-data"), long);
    }

    #[test]
    fn the_host_key_goes_in_once() {
        let key = "-----BEGIN\nabc\n-----END\n";
        let first = needed(Some(key), "ssh-ed25519 AAAA web1");
        assert!(first.starts_with("#cloud-config\n{"), "{first}");
        assert!(first.contains(r#""ed25519_private":"-----BEGIN\nabc\n-----END\n""#));
        assert!(first.contains(r#""ssh_deletekeys":true"#));
        let later = needed(None, "ssh-ed25519 AAAA web1");
        assert!(!later.contains("ed25519") && later.contains(r#""ssh_deletekeys":false"#));
    }

    #[test]
    fn the_users_data_comes_first_and_whole() {
        let own = "#cloud-config\npackages: [nginx]\n# ä\n".repeat(40);
        let text = user_data_with(Some(&own), "#cloud-config\n{}\n");
        let parts: Vec<&str> = text.split(&format!("--{BOUNDARY}")).collect();
        assert_eq!(parts.len(), 4);
        let body: String = parts[1].split_once("\n\n").unwrap().1.lines().collect();
        assert_eq!(STANDARD.decode(body).unwrap(), own.as_bytes());
        assert!(parts[2].contains("Merge-Type: dict(replace)"));
        assert!(text.lines().all(|line| line.len() <= 76));
    }

    #[test]
    fn what_cloud_init_would_pass_over_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let told = |bytes: &[u8]| {
            std::fs::write(file.path(), bytes).unwrap();
            user_data(file.path()).map_err(|error| error.to_string())
        };
        assert!(told(b"#cloud-config\n").is_ok() && told(b"#!/bin/sh\n").is_ok());
        assert!(
            told(b"packages: []\n")
                .unwrap_err()
                .contains("#cloud-config")
        );
        assert!(told(b"#!\xff").unwrap_err().contains("not text"));
        let long = [b"#!".to_vec(), vec![b'x'; 256 << 10]].concat();
        assert!(told(&long).unwrap_err().contains("256 KiB"));
    }
}
