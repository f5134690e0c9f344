//! A machine's life on libvirt's own driver for tests, which defines, starts and ends domains that run nothing.
#![cfg(feature = "libvirt")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::Duration;

use berth_driver_api::{
    BootImage, Credential, DiskFormat, Driver, Error, Machine, Silent, Spec, State,
};
use berth_driver_libvirt::Libvirt;
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;

/// A hypervisor of this process's own, with one domain of somebody else's.
struct World {
    folder: tempfile::TempDir,
    uri: String,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let node = folder.path().join("node.xml");
        std::fs::write(
            &node,
            "<node><domain type='test'><name>foreign</name><uuid>11111111-2222-4333-8444-555555555555</uuid>\
             <memory>262144</memory><os><type>hvm</type></os></domain>\
             <pool type='dir'><name>default</name><target><path>/pool</path></target></pool></node>",
        )
        .unwrap();
        // Connections of one process to the same file have hypervisors of their own: the driver must keep its one.
        let uri = format!("test://{}", node.display());
        World { folder, uri }
    }

    fn machine(&self, name: &str) -> Machine {
        let own = |kind: &str| {
            let path = self.folder.path().join(name).join(kind);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let disk = self.folder.path().join("disk.qcow2");
        std::fs::write(&disk, b"").unwrap();
        Machine {
            id: Uuid::new_v4(),
            name: name.into(),
            folder: own("vm"),
            sockets: own("sockets"),
            ports: self.folder.path().join("ports"),
            networks: self.folder.path().join("networks"),
            seed: None,
            shares: Vec::new(),
            spec: Spec {
                cpus: 1,
                memory: 512 << 20,
                disk: 1 << 30,
                image: Some(BootImage {
                    digest: format!("sha256:{}", "0".repeat(64)),
                    arch: "x86_64".into(),
                    kernel: Some(disk.clone()),
                    initrd: None,
                    disk,
                    format: DiskFormat::Qcow2,
                    virtual_size: 1 << 30,
                    cmdline: None,
                    driver_kernel: None,
                }),
                options: [("uri".to_owned(), self.uri.clone())].into(),
            },
        }
    }
}

fn credentials() -> Vec<Credential> {
    vec![Credential {
        name: "ssh.authorized_keys.root".into(),
        value: b"secret".to_vec(),
    }]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_made_started_stopped_and_removed_each_twice() {
    let world = World::new();
    let driver = Libvirt::new();
    let machine = world.machine("web");
    driver.check(&machine).await.unwrap();
    assert_eq!(driver.state(&machine).await.unwrap(), State::Missing);
    for _ in 0..2 {
        driver
            .create(&machine, &credentials(), &Silent)
            .await
            .unwrap();
        assert_eq!(driver.state(&machine).await.unwrap(), State::Stopped);
    }
    for _ in 0..2 {
        driver.start(&machine, &Silent).await.unwrap();
        assert_eq!(driver.state(&machine).await.unwrap(), State::Running);
    }
    assert_eq!(driver.address(&machine).await.unwrap().host, "127.0.0.1");
    let wait = Duration::from_secs(10);
    for _ in 0..2 {
        driver.stop(&machine, wait).await.unwrap();
        assert_eq!(driver.state(&machine).await.unwrap(), State::Stopped);
    }
    driver.start(&machine, &Silent).await.unwrap();
    for _ in 0..2 {
        driver.kill(&machine).await.unwrap();
        assert_eq!(driver.state(&machine).await.unwrap(), State::Stopped);
    }
    driver.start(&machine, &Silent).await.unwrap();
    for _ in 0..2 {
        driver.remove(&machine).await.unwrap();
        assert_eq!(driver.state(&machine).await.unwrap(), State::Missing);
    }
    assert!(matches!(
        driver.start(&machine, &Silent).await,
        Err(Error::Missing(_))
    ));
    assert_eq!(entries(&machine.folder), 0);
    assert_eq!(entries(&machine.ports), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_machine_goes_on_or_is_given_up() {
    let world = World::new();
    let driver = Libvirt::new();
    let machine = world.machine("web");
    driver.create(&machine, &[], &Silent).await.unwrap();
    let refused = driver.suspend(&machine, &Silent).await.unwrap_err();
    assert_eq!(refused.to_string(), "it is stopped, not running");
    for end in ["start", "kill", "remove"] {
        driver.start(&machine, &Silent).await.unwrap();
        for _ in 0..2 {
            driver.suspend(&machine, &Silent).await.unwrap();
            assert_eq!(driver.state(&machine).await.unwrap(), State::Suspended);
        }
        let refused = driver.snapshot(&machine, "x", &Silent).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "it is suspended, not running or stopped"
        );
        let state = match end {
            "start" => {
                driver.start(&machine, &Silent).await.unwrap();
                State::Running
            }
            "kill" => {
                driver.kill(&machine).await.unwrap();
                State::Stopped
            }
            _ => {
                driver.remove(&machine).await.unwrap();
                State::Missing
            }
        };
        assert_eq!(driver.state(&machine).await.unwrap(), state, "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_goes_back_to_what_it_was() {
    let world = World::new();
    let driver = Libvirt::new();
    let machine = world.machine("web");
    driver.create(&machine, &[], &Silent).await.unwrap();
    driver.snapshot(&machine, "off", &Silent).await.unwrap();
    driver.start(&machine, &Silent).await.unwrap();
    // What the guest says once.
    std::fs::write(machine.file("ready"), "ssh\n").unwrap();
    driver.snapshot(&machine, "on", &Silent).await.unwrap();
    let all = driver.snapshots(&machine).await.unwrap();
    let told: Vec<_> = all
        .iter()
        .map(|one| (one.name.as_str(), one.memory))
        .collect();
    assert_eq!(told, [("off", None), ("on", Some(512 << 20))]);
    assert!(all.iter().all(|one| one.taken > 1_700_000_000));
    assert!(driver.snapshot(&machine, "on", &Silent).await.is_err());

    driver.restore(&machine, "off", &Silent).await.unwrap();
    assert_eq!(driver.state(&machine).await.unwrap(), State::Stopped);
    std::fs::write(machine.file("ready"), "").unwrap();
    driver.restore(&machine, "on", &Silent).await.unwrap();
    assert_eq!(driver.state(&machine).await.unwrap(), State::Running);
    let said = std::fs::read_to_string(machine.file("ready")).unwrap();
    assert_eq!(said, "ssh\n");

    for (name, says) in [("gone", "no snapshot gone"), ("../x", "letters, digits")] {
        let refused = driver.restore(&machine, name, &Silent).await.unwrap_err();
        assert!(refused.to_string().contains(says), "{refused}");
    }
    for _ in 0..2 {
        driver.remove_snapshot(&machine, "off").await.unwrap();
    }
    assert_eq!(driver.snapshots(&machine).await.unwrap().len(), 1);
    driver.remove(&machine).await.unwrap();
    assert_eq!(entries(&machine.folder), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_outlives_its_original() {
    let world = World::new();
    let driver = Libvirt::new();
    let (one, two) = (world.machine("one"), world.machine("two"));
    driver.create(&one, &[], &Silent).await.unwrap();
    for _ in 0..2 {
        driver
            .copy(&one, &two, &credentials(), &Silent)
            .await
            .unwrap();
        assert_eq!(driver.state(&two).await.unwrap(), State::Stopped);
    }
    let address = async |machine: &Machine| driver.address(machine).await.unwrap().port;
    assert_ne!(address(&one).await, address(&two).await);
    driver.remove(&one).await.unwrap();
    driver.start(&two, &Silent).await.unwrap();
    driver.remove(&two).await.unwrap();
    assert_eq!(entries(&two.folder), 0);
    let refused = driver.copy(&one, &two, &[], &Silent).await.unwrap_err();
    assert!(matches!(refused, Error::Missing(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_machine_is_heard_at_once() {
    let world = World::new();
    let driver = Libvirt::new();
    let machine = world.machine("web");
    driver.create(&machine, &[], &Silent).await.unwrap();
    driver.start(&machine, &Silent).await.unwrap();
    let off = async {
        // The one who waits looks now, and would look again in half a minute.
        tokio::time::sleep(Duration::from_millis(300)).await;
        driver.kill(&machine).await.unwrap();
    };
    let heard = tokio::time::timeout(Duration::from_secs(10), driver.wait_stopped(&machine));
    let (heard, ()) = tokio::join!(heard, off);
    assert_eq!(
        heard.unwrap().unwrap().as_deref(),
        Some("it was powered off")
    );
    driver.remove(&machine).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_of_somebody_elses_is_never_touched() {
    let world = World::new();
    let driver = Libvirt::new();
    let mut machine = world.machine("web");
    // As if a record had come from elsewhere, or been tampered with.
    machine.id = "11111111-2222-4333-8444-555555555555".parse().unwrap();
    let refused = driver.create(&machine, &[], &Silent).await.unwrap_err();
    assert!(refused.to_string().contains("berth's mark"), "{refused}");
    for refused in [
        driver.start(&machine, &Silent).await,
        driver.kill(&machine).await,
        driver.remove(&machine).await,
        driver.stop(&machine, Duration::from_secs(1)).await,
    ] {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("berth's mark"), "{refused}");
    }
    assert!(driver.state(&machine).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_met_is_refused_before_anything_is_made() {
    let world = World::new();
    let driver = Libvirt::new();
    for (option, value, says) in [
        ("uri", "xen:///system", "qemu:///session"),
        ("uri", "qemu:///embed", "/session nor in /system"),
        ("pool", "no-such-pool", "pool-list"),
        ("pool", "../x y", "not the name"),
        ("network", "network:no-such-network", "net-list"),
        ("network", "nat", "is not one of"),
        ("cpu", "x'/><y", "MODEL"),
        ("machine", "pc-i440fx", "q35"),
        ("boot", "floppy", "is not one of"),
        ("autostart", "yes", "neither true nor false"),
    ] {
        let mut machine = world.machine("web");
        machine.spec.options.insert(option.into(), value.into());
        let refused = driver.check(&machine).await.unwrap_err().to_string();
        assert!(refused.contains(says), "{option}={value}: {refused}");
        assert_eq!(entries(&machine.folder), 0);
    }
    let mut machine = world.machine("web");
    machine.spec.options.insert("netwrok".into(), "user".into());
    let refused = driver.check(&machine).await.unwrap_err();
    assert!(matches!(refused, Error::UnknownOption { nearest: Some(n), .. } if n == "network"));
    let mut machine = world.machine("web");
    machine.spec.memory = 1 << 50;
    let refused = driver.check(&machine).await.unwrap_err().to_string();
    assert!(refused.contains("is more than"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_does_not_run_is_explained() {
    let world = World::new();
    let mut machine = world.machine("web");
    let socket = world.folder.path().join("libvirt-sock");
    let uri = format!("qemu+unix:///system?socket={}", socket.display());
    machine.spec.options.insert("uri".into(), uri);
    let refused = Libvirt::new()
        .check(&machine)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("systemctl start"), "{refused}");
}

/// The mark is on the domain itself, for whoever looks at it by other means.
#[tokio::test(flavor = "multi_thread")]
async fn the_shared_test_hypervisor_shows_the_mark() {
    let world = World::new();
    let driver = Libvirt::new();
    let mut machine = world.machine("marked");
    let shared = "test:///default";
    machine.spec.options.insert("uri".into(), shared.into());
    machine
        .spec
        .options
        .insert("pool".into(), "default-pool".into());
    driver.create(&machine, &[], &Silent).await.unwrap();
    let connection = Connect::open(Some(shared)).unwrap();
    let domain = Domain::lookup_by_uuid(&connection, machine.id).unwrap();
    let xml = domain.get_xml_desc(0).unwrap();
    assert!(xml.contains(&format!("id=\"{}\"", machine.id)), "{xml}");
    assert!(xml.contains("https://berth.dev/libvirt/1"), "{xml}");
    let others = connection.list_all_domains(0).unwrap().len();
    driver.remove(&machine).await.unwrap();
    assert_eq!(connection.list_all_domains(0).unwrap().len(), others - 1);
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}
