//! Provisioning a real machine. Never this computer: the machine is named by `BERTH_TEST_GUEST=HOST:PORT`, and
//! `BERTH_TEST_KEY` is a key file that lets root in.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::sync::Mutex;
use std::time::{Duration, Instant};

use berth_driver_api::Progress;
use berth_provision::engine::Engine;
use berth_provision::ssh::{Key, Session, Target, learn_host_key};
use berth_provision::{Error, Kind, Version, Wanted, provision};

struct Print(Instant);

impl Progress for Print {
    fn phase(&self, title: &str) {
        eprintln!("{:6.2} {title}", self.0.elapsed().as_secs_f32());
    }
    fn bytes(&self, _done: u64, _total: Option<u64>) {}
    fn note(&self, line: &str) {
        eprintln!("{:6.2}   {line}", self.0.elapsed().as_secs_f32());
    }
}

#[tokio::test]
#[ignore = "needs a machine: BERTH_TEST_GUEST, BERTH_TEST_KEY"]
async fn a_machine_gets_its_engine_once() {
    let address = std::env::var("BERTH_TEST_GUEST").unwrap();
    let (host, port) = address.rsplit_once(':').unwrap();
    let port = port.parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let known_hosts = folder.path().join("known_hosts");
    let print = Print(Instant::now());
    let key = loop {
        match learn_host_key(host, port, &[], Duration::from_secs(20)).await {
            Ok(key) => break key,
            Err(error) if print.0.elapsed() > Duration::from_secs(300) => panic!("{error}"),
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    };
    std::fs::write(&known_hosts, key.known_hosts_line(host, port)).unwrap();
    let target = Target {
        host: host.into(),
        port,
        user: "root".into(),
        key: Key::File(std::env::var_os("BERTH_TEST_KEY").unwrap().into()),
        known_hosts,
        host_key_alias: None,
        jump: Vec::new(),
    };
    print.phase("connecting");
    let session = Session::connect(&target, Duration::from_secs(300))
        .await
        .unwrap();
    print.phase("connected");
    let started = Instant::now();
    for _ in 0..5 {
        session.exec("true").await.unwrap();
    }
    eprintln!("a command takes {:?}", started.elapsed() / 5);

    let wanted = Wanted::default();
    let steps = Mutex::new(Vec::new());
    let note = |step: &str| steps.lock().unwrap().push(step.to_owned());
    let installed = provision(&session, &wanted, &print, &note).await.unwrap();
    print.phase("provisioned");
    eprintln!("{installed:?}, steps {:?}", steps.lock().unwrap());
    assert_eq!(installed.engine.as_ref().unwrap().kind, Kind::Docker);

    steps.lock().unwrap().clear();
    let started = Instant::now();
    let again = provision(&session, &wanted, &print, &note).await.unwrap();
    eprintln!("again: {:?}", started.elapsed());
    assert_eq!(again, installed);
    assert_eq!(*steps.lock().unwrap(), ["Checking the engine"]);

    let engine = Engine::over_ssh(&session, "/run/docker.sock").unwrap();
    let started = Instant::now();
    engine.version().await.unwrap();
    eprintln!("the engine's version takes {:?}", started.elapsed());
    assert!(engine.published().await.unwrap().is_empty());
    drop(engine.events().await.unwrap());

    let impossible = Wanted {
        version: Version::Pinned("1.2.3".into()),
        ..Wanted::default()
    };
    let error = provision(&session, &impossible, &print, &note)
        .await
        .unwrap_err();
    eprintln!("{error}");
    let Error::VersionNotOffered { offered, .. } = error else {
        panic!("{error}");
    };
    let version = offered
        .first()
        .unwrap()
        .split('+')
        .next()
        .unwrap()
        .to_owned();
    let pinned = Wanted {
        version: Version::Pinned(version),
        ..Wanted::default()
    };
    provision(&session, &pinned, &print, &note).await.unwrap();
    let held = session.exec("apt-mark showhold").await.unwrap();
    assert!(String::from_utf8_lossy(&held.stdout).contains("docker.io"));
    steps.lock().unwrap().clear();
    provision(&session, &pinned, &print, &note).await.unwrap();
    assert_eq!(*steps.lock().unwrap(), ["Checking the engine"]);

    let broken = "printf '{\"a\": 1,\\n oops}' >/etc/docker/daemon.json";
    session.exec(broken).await.unwrap();
    let error = provision(&session, &wanted, &print, &note)
        .await
        .unwrap_err();
    eprintln!("{error}");
    assert!(matches!(error, Error::InvalidConfig { line: 2, .. }));

    // Settings that are fine to read but not to start with are taken back, and the engine lives.
    let odd = "printf '{\"no-such-setting\": 1}' >/etc/docker/daemon.json";
    session.exec(odd).await.unwrap();
    let error = provision(&session, &wanted, &print, &note)
        .await
        .unwrap_err();
    eprintln!("{error}");
    let settings = session.exec("cat /etc/docker/daemon.json").await.unwrap();
    eprintln!("left: {}", String::from_utf8_lossy(&settings.stdout));
    session.exec("rm /etc/docker/daemon.json*").await.unwrap();
    let mended = provision(&session, &wanted, &print, &note).await.unwrap();
    assert_eq!(mended, installed);
    let settings = session.exec("cat /etc/docker/daemon.json").await.unwrap();
    assert!(String::from_utf8_lossy(&settings.stdout).contains("live-restore"));
    let memory = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    for line in memory.lines().filter(|line| line.starts_with("Pss")) {
        eprintln!("{line}");
    }
}
