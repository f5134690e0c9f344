//! A whole guest from berth's own image: minutes under software emulation, so only where `BERTH_TEST_IMAGE` names a
//! stored image's folder (with `image.toml`, `disk.qcow2`, `vmlinux`, `initrd`).
//! `BERTH_TEST_OPTIONS` adds driver options: `cpu=max network=passt`.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use berth_driver_api::ready;
use berth_driver_api::{
    BootImage, Credential, DiskFormat, Driver, Machine, Silent, Spec, State, process,
};
use berth_driver_qemu::Qemu;
use uuid::Uuid;

/// Runs a container of the guest's own busybox: no registry is needed.
const CONTAINER: &str = "set -e; docker version --format '{{.Server.Version}}'; \
    tar -cC / ./usr/bin/busybox | docker import - busybox >/dev/null; \
    docker run --rm busybox /usr/bin/busybox echo 'a container ran'";

#[tokio::test]
async fn a_real_guest_comes_up_obeys_and_shuts_down() {
    let Some(image) = std::env::var_os("BERTH_TEST_IMAGE").map(PathBuf::from) else {
        println!("skipped: BERTH_TEST_IMAGE names no image");
        return;
    };
    let text = fs::read_to_string(image.join("image.toml")).unwrap();
    let about: toml::Table = toml::from_str(&text).unwrap();
    let content = &about["content"];
    let word = |name: &str| content[name].as_str().unwrap().to_owned();

    let home = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let folder = home.path().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let options = std::env::var("BERTH_TEST_OPTIONS").unwrap_or_default();
    let options: BTreeMap<String, String> = options
        .split_whitespace()
        .filter_map(|option| option.split_once('='))
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let machine = Machine {
        id: Uuid::new_v4(),
        name: "guest".into(),
        folder: folder("m"),
        sockets: folder("s"),
        ports: folder("ports"),
        networks: folder("networks"),
        seed: None,
        shares: Vec::new(),
        spec: Spec {
            cpus: 2,
            memory: 1 << 30,
            disk: 24 << 30,
            image: Some(BootImage {
                digest: image
                    .file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .replace('-', ":"),
                arch: word("arch"),
                disk: image.join("disk.qcow2"),
                format: DiskFormat::Qcow2,
                virtual_size: content["virtual_size"].as_integer().unwrap() as u64,
                kernel: Some(image.join("vmlinux")),
                initrd: Some(image.join("initrd")),
                cmdline: Some(word("cmdline")),
                driver_kernel: None,
            }),
            options,
        },
    };
    let key = home.path().join("key");
    let mut keygen = process::command("ssh-keygen").unwrap();
    keygen
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key);
    process::output(keygen).await.unwrap();
    let public = Credential {
        name: "ssh.authorized_keys.root".into(),
        value: fs::read(key.with_extension("pub")).unwrap(),
    };

    let driver = Qemu::new(home.path().join("cache"));
    let outcome = tokio::time::timeout(Duration::from_secs(600), async {
        driver.create(&machine, &[public], &Silent).await.unwrap();
        let begun = Instant::now();
        driver.start(&machine, &Silent).await.unwrap();
        println!("started {:.1?}", begun.elapsed());
        driver.ready(&machine, ready::SSH).await.unwrap();
        println!("ssh {:.1?}", begun.elapsed());
        driver.ready(&machine, ready::ENGINE).await.unwrap();
        println!("engine {:.1?}", begun.elapsed());

        let address = driver.address(&machine).await.unwrap();
        let status = Command::new("ssh")
            .args([
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-i",
            ])
            .arg(&key)
            .args(["-p", &address.port.to_string()])
            .arg(format!("{}@{}", address.user, address.host))
            .arg(CONTAINER)
            .status()
            .unwrap();
        assert!(status.success());
        println!("answered {:.1?}", begun.elapsed());

        let begun = Instant::now();
        let stop = driver.stop(&machine, Duration::from_secs(120));
        let (reason, stopped) = tokio::join!(driver.wait_stopped(&machine), stop);
        stopped.unwrap();
        println!("stopped {:.1?}: {:?}", begun.elapsed(), reason.unwrap());
        assert_eq!(driver.state(&machine).await.unwrap(), State::Stopped);
    })
    .await;
    let console = fs::read(machine.file("console.log")).unwrap_or_default();
    let log = fs::read(machine.file("qemu.log")).unwrap_or_default();
    driver.remove(&machine).await.unwrap();
    println!("QEMU: {}", process::last_lines(&log, 10));
    assert!(
        outcome.is_ok(),
        "console: {}",
        process::last_lines(&console, 30)
    );
}
