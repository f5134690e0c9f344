//! A machine's life on libvirt's own driver for tests, which defines, starts and ends domains that run nothing.
#![cfg(feature = "libvirt")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

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
    let wait = std::time::Duration::from_secs(10);
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
        driver
            .stop(&machine, std::time::Duration::from_secs(1))
            .await,
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
