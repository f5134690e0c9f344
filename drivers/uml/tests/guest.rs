//! A whole guest from berth's own images, so only where the environment names them: `BERTH_TEST_RAW` the raw disk of a
//! guest image (`debian-13-docker`), `BERTH_TEST_UML` the folder of the image `uml-kernel`.
//! `BERTH_TEST_DISK_GIB` asks for a disk of another size.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use berth_driver_api::ready;
use berth_driver_api::running::{Running, holder};
use berth_driver_api::{
    BootImage, Credential, DiskFormat, Driver, DriverKernel, Machine, Silent, Spec, State, process,
};
use berth_driver_uml::Uml;
use uuid::Uuid;

const CMDLINE: &str =
    "root=PARTLABEL=berth-root rw quiet loglevel=4 panic=10 systemd.gpt_auto=0 audit=0";

/// Runs a container of the guest's own busybox: no registry is needed.
const CONTAINER: &str = "set -e; docker version --format '{{.Server.Version}}'; \
    tar -cC / ./usr/bin/busybox | docker import - busybox >/dev/null; \
    docker run --rm busybox /usr/bin/busybox echo 'a container ran'; df -h / | tail -1";

fn machine(home: &Path, raw: PathBuf, kernel: PathBuf) -> Machine {
    let folder = |name: &str| {
        let folder = home.join(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let virtual_size = fs::metadata(&raw).unwrap().len();
    let gib = std::env::var("BERTH_TEST_DISK_GIB").ok();
    Machine {
        id: Uuid::new_v4(),
        name: "guest".into(),
        folder: folder("m"),
        sockets: folder("s"),
        ports: folder("ports"),
        networks: folder("networks"),
        seed: None,
        shares: Vec::new(),
        spec: Spec {
            cpus: 1,
            memory: 1 << 30,
            disk: gib.map_or(virtual_size, |gib| gib.parse::<u64>().unwrap() << 30),
            image: Some(BootImage {
                digest: "sha256:0".into(),
                arch: "x86_64".into(),
                disk: raw,
                format: DiskFormat::Raw,
                virtual_size,
                kernel: None,
                initrd: None,
                cmdline: Some(CMDLINE.into()),
                driver_kernel: Some(DriverKernel {
                    digest: "sha256:1".into(),
                    folder: kernel,
                }),
            }),
            options: BTreeMap::new(),
        },
    }
}

async fn ssh(driver: &Uml, machine: &Machine, key: &Path, command: &str) -> bool {
    let address = driver.address(machine).await.unwrap();
    let mut ssh = Command::new("ssh");
    for option in [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
        "ConnectTimeout=10",
        "ServerAliveInterval=2",
        "ServerAliveCountMax=3",
    ] {
        ssh.args(["-o", option]);
    }
    ssh.arg("-i")
        .arg(key)
        .args(["-p", &address.port.to_string()])
        .arg(format!("{}@{}", address.user, address.host))
        .arg(command);
    ssh.status().unwrap().success()
}

/// The processes of the session that the kernel leads, from `/proc/PID/stat`, zombies left out.
fn session(leader: i32) -> Vec<i32> {
    let member = |pid: i32| -> Option<bool> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let alive = fields.next()? != "Z";
        Some(alive && fields.nth(2)?.parse() == Ok(leader))
    };
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.parse().ok()
    });
    pids.filter(|pid| member(*pid) == Some(true)).collect()
}

#[tokio::test]
async fn a_real_guest_comes_up_obeys_and_leaves_nothing() {
    let (Some(raw), Some(kernel)) = (
        std::env::var_os("BERTH_TEST_RAW").map(PathBuf::from),
        std::env::var_os("BERTH_TEST_UML").map(PathBuf::from),
    ) else {
        println!("skipped: BERTH_TEST_RAW and BERTH_TEST_UML name no images");
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let machine = machine(home.path(), raw, kernel.clone());
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

    let driver = Uml::new(Some(kernel));
    let begun = Instant::now();
    let probe = driver.probe().await.unwrap();
    println!("probe {:.3?}: {probe:#?}", begun.elapsed());
    assert!(probe.usable);

    let outcome = tokio::time::timeout(
        Duration::from_secs(300),
        life(&driver, &machine, &key, public),
    )
    .await;
    let console = fs::read(machine.file("console.log")).unwrap_or_default();
    driver.remove(&machine).await.unwrap();
    println!("console: {}", process::last_lines(&console, 15));
    assert!(outcome.is_ok());
    for folder in [&machine.folder, &machine.sockets, &machine.ports] {
        let left: Vec<_> = fs::read_dir(folder).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
    let memory = Path::new("/dev/shm").join(format!("berth-{}", machine.id));
    assert!(!memory.exists());
    assert_eq!(driver.state(&machine).await.unwrap(), State::Missing);
}

async fn life(driver: &Uml, machine: &Machine, key: &Path, public: Credential) {
    assert_eq!(driver.state(machine).await.unwrap(), State::Missing);
    let begun = Instant::now();
    driver.create(machine, &[public], &Silent).await.unwrap();
    println!("created {:.1?}", begun.elapsed());
    assert_eq!(driver.state(machine).await.unwrap(), State::Stopped);
    let begun = Instant::now();
    driver.start(machine, &Silent).await.unwrap();
    println!("started {:.1?}", begun.elapsed());
    driver.ready(machine, ready::SSH).await.unwrap();
    println!("ssh {:.1?}", begun.elapsed());
    driver.ready(machine, ready::ENGINE).await.unwrap();
    println!("engine {:.1?}", begun.elapsed());
    assert!(ssh(driver, machine, key, CONTAINER).await);
    println!("answered {:.1?}", begun.elapsed());
    assert_eq!(driver.state(machine).await.unwrap(), State::Running);
    // Starting what runs is a success.
    driver.start(machine, &Silent).await.unwrap();

    helper_dies(driver, machine, key).await;
    reboots(driver, machine, key).await;

    assert!(ssh(driver, machine, key, "echo kept >/root/kept; sync").await);
    let kernel = holder(&machine.file("uml.pid")).unwrap().unwrap();
    assert!(session(kernel).len() > 3);
    driver.kill(machine).await.unwrap();
    assert_eq!(driver.state(machine).await.unwrap(), State::Stopped);
    assert_eq!(holder(&machine.file("network.pid")).unwrap(), None);
    assert!(session(kernel).is_empty());

    let begun = Instant::now();
    driver.start(machine, &Silent).await.unwrap();
    driver.ready(machine, ready::SSH).await.unwrap();
    println!("ssh again {:.1?}", begun.elapsed());
    assert!(ssh(driver, machine, key, "grep -qx kept /root/kept").await);

    // A helper that took another one's place is told of its kernel's end as well.
    let helper = Running::of(&machine.file("network.pid")).unwrap().unwrap();
    helper.kill_and_wait("helper").await.unwrap();
    driver.start(machine, &Silent).await.unwrap();
    killed_by_a_stranger(driver, machine).await;

    driver.start(machine, &Silent).await.unwrap();
    driver.ready(machine, ready::SSH).await.unwrap();
    let begun = Instant::now();
    let stop = driver.stop(machine, Duration::from_secs(60));
    let (reason, stopped) = tokio::join!(driver.wait_stopped(machine), stop);
    stopped.unwrap();
    println!("stopped {:.1?}: {reason:?}", begun.elapsed());
    assert_eq!(reason.unwrap().as_deref(), Some("the guest shut down"));
    assert_eq!(driver.state(machine).await.unwrap(), State::Stopped);
}

/// The network helper dies: the machine's state tells, and `start` mends it.
async fn helper_dies(driver: &Uml, machine: &Machine, key: &Path) {
    let pid_file = machine.file("network.pid");
    let helper = Running::of(&pid_file).unwrap().unwrap();
    helper.kill().unwrap();
    helper.ended().await.unwrap();
    let told = driver.state(machine).await.unwrap_err().to_string();
    assert!(told.contains("network helper"), "{told}");
    driver.start(machine, &Silent).await.unwrap();
    assert_eq!(driver.state(machine).await.unwrap(), State::Running);
    assert!(ssh(driver, machine, key, "true").await);
    println!("a helper that died was replaced by start");

    // And whoever watches the machine mends it unasked.
    let helper = Running::of(&pid_file).unwrap().unwrap();
    let mended = async {
        helper.kill().unwrap();
        while !ssh(driver, machine, key, "true").await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        ended = driver.wait_stopped(machine) => panic!("it stopped: {ended:?}"),
        () = mended => println!("a helper that died was replaced by a watcher"),
    }
}

/// Told at once; its helper and the processes of its guests go by themselves.
async fn killed_by_a_stranger(driver: &Uml, machine: &Machine) {
    let helper = Running::of(&machine.file("network.pid")).unwrap().unwrap();
    let kernel = Running::of(&machine.file("uml.pid")).unwrap().unwrap();
    kernel.kill().unwrap();
    kernel.ended().await.unwrap();
    assert_eq!(driver.state(machine).await.unwrap(), State::Stopped);
    let begun = Instant::now();
    tokio::time::timeout(Duration::from_secs(5), async {
        helper.ended().await.unwrap();
        println!("its helper went after {:.0?}", begun.elapsed());
        while !session(kernel.pid()).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    println!("nothing was left after {:.0?}", begun.elapsed());
}

/// A guest that reboots stays the same machine.
async fn reboots(driver: &Uml, machine: &Machine, key: &Path) {
    let before = holder(&machine.file("uml.pid")).unwrap();
    let begun = Instant::now();
    ssh(driver, machine, key, "touch /run/before; systemctl reboot").await;
    while !ssh(driver, machine, key, "test ! -e /run/before").await {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(holder(&machine.file("uml.pid")).unwrap(), before);
    println!("rebooted {:.1?}", begun.elapsed());
}
