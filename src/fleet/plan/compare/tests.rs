use std::collections::BTreeMap;

use berth_driver_api::Spec;

use super::*;
use crate::machine::{ImageRef, Installed, Member};

fn declared() -> Declared {
    Declared {
        name: "web1".into(),
        group: "web".into(),
        protect: false,
        wish: Wish {
            driver: Some("uml".into()),
            cpus: Some(2),
            memory: Some(1 << 30),
            disk: None,
            image: Some("debian-13-docker".into()),
            digest: None,
            cloud_init: None,
            engine: Some(EngineWish::parse("docker@26", "distro")),
            tls: None,
            labels: BTreeMap::from([("role".into(), "web".into())]),
            mounts: Vec::new(),
            options: BTreeMap::from([("network".into(), "user".into())]),
            settings: EngineSettings::default(),
        },
    }
}

fn record() -> Record {
    let spec = Spec {
        cpus: 2,
        memory: 1 << 30,
        disk: 1 << 34,
        image: None,
        options: BTreeMap::new(),
    };
    let mut record = Record::new(
        "web1",
        "uml",
        &spec,
        EngineWish::parse("docker@26", "distro"),
    );
    record.image = Some(ImageRef {
        reference: "debian-13-docker".into(),
        digest: "sha256:0".into(),
    });
    record.installed = Some(Installed {
        kind: "docker".into(),
        version: "26.1.5+dfsg1".into(),
        socket: "/run/docker.sock".into(),
        os: "Debian".into(),
    });
    record.labels = BTreeMap::from([("role".into(), "web".into())]);
    record
}

fn seen() -> Seen {
    Seen {
        state: Some(State::Running),
        engine: Some(Ok("26.1.5+dfsg1".into())),
        ..Seen::default()
    }
}

/// `what: now -> then`, and `!` before what replaces the machine.
fn told(declared: &Declared, record: &Record, seen: &Seen) -> Vec<String> {
    told_of(declared, record, seen, false)
}

fn told_of(declared: &Declared, record: &Record, seen: &Seen, resizes: bool) -> Vec<String> {
    let driver = DriverFacts {
        defaults: BTreeMap::from([("network".into(), "user".into())]),
        resizes,
    };
    let show = |difference: Difference| {
        let word = |word: Option<String>| word.unwrap_or("-".into());
        let mark = if difference.part.replaces() { "!" } else { "" };
        format!(
            "{mark}{}: {} -> {}",
            difference.what,
            word(difference.now),
            word(difference.then)
        )
    };
    compare(declared, record, seen, &driver)
        .into_iter()
        .map(show)
        .collect()
}

#[test]
fn a_machine_that_is_as_it_is_to_be_differs_in_nothing() {
    assert_eq!(told(&declared(), &record(), &seen()), [""; 0]);
    // What the file does not say may be as it is.
    let mut silent = declared();
    silent.wish = Wish {
        driver: None,
        cpus: None,
        memory: None,
        image: None,
        engine: None,
        options: BTreeMap::new(),
        ..silent.wish
    };
    let mut other = record();
    other.options.insert("network".into(), "shared:x".into());
    other.engine = EngineWish::parse("podman", "distro");
    assert_eq!(told(&silent, &other, &seen()), [""; 0]);
}

#[test]
fn what_is_settled_when_a_machine_is_made_replaces_it() {
    let mut wanted = declared();
    wanted.wish.driver = Some("qemu".into());
    wanted.wish.cpus = Some(4);
    wanted.wish.memory = Some(2 << 30);
    wanted.wish.disk = Some(1 << 35);
    wanted.wish.image = Some("debian-12".into());
    wanted
        .wish
        .options
        .insert("network".into(), "shared:x".into());
    assert_eq!(
        told(&wanted, &record(), &seen()),
        [
            "!driver: uml -> qemu",
            "!image: debian-13-docker -> debian-12",
            "!option network: user -> shared:x",
            "!cpus: 2 -> 4",
            "!memory: 1 GiB -> 2 GiB",
            "!disk: 16 GiB -> 32 GiB",
        ]
    );
    let gone = Seen {
        state: Some(State::Missing),
        ..Seen::default()
    };
    assert_eq!(
        told(&declared(), &record(), &gone),
        ["!machine: gone from its hypervisor -> there"]
    );
}

#[test]
fn a_machine_gets_another_size_where_its_driver_can_but_never_a_smaller_disk() {
    let mut wanted = declared();
    wanted.wish.cpus = Some(4);
    wanted.wish.memory = Some(512 << 20);
    wanted.wish.disk = Some(1 << 35);
    assert_eq!(
        told_of(&wanted, &record(), &seen(), true),
        [
            "cpus: 2 -> 4",
            "memory: 1 GiB -> 512 MiB",
            "disk: 16 GiB -> 32 GiB",
        ]
    );
    wanted.wish.disk = Some(1 << 33);
    let told = told_of(&wanted, &record(), &seen(), true);
    assert_eq!(told.last().unwrap(), "!disk: 16 GiB -> 8 GiB");
}

#[test]
fn a_path_is_the_image_that_the_machine_was_made_of() {
    let mut wanted = declared();
    wanted.wish.image = Some("/disks/a.qcow2".into());
    let mut made = record();
    assert_eq!(told(&wanted, &made, &seen()).len(), 1);
    made.member = Some(Member {
        fleet: "f".into(),
        group: "web".into(),
        protect: false,
        image: Some("/disks/a.qcow2".into()),
        unknown: toml::Table::new(),
    });
    assert_eq!(told(&wanted, &made, &seen()), [""; 0]);
}

#[test]
fn labels_mounts_and_settings_are_all_that_there_is_to_be() {
    let mut wanted = declared();
    wanted.protect = true;
    wanted.wish.labels = BTreeMap::from([("role".into(), "db".into()), ("new".into(), "1".into())]);
    wanted.wish.settings.daemon_json = Some(r#"{"debug":true}"#.into());
    wanted.wish.settings.registry_mirrors = vec!["https://m".into()];
    wanted.wish.settings.environment = BTreeMap::from([("A".into(), "secret1".into())]);
    let mut is = record();
    is.labels.insert("old".into(), "x".into());
    is.settings.daemon_json = Some(r#"{ "debug": false, "n": 1 }"#.into());
    is.settings.environment =
        BTreeMap::from([("A".into(), "secret2".into()), ("B".into(), "b".into())]);
    assert_eq!(
        told(&wanted, &is, &seen()),
        [
            "protect: false -> true",
            "label new: - -> 1",
            "label old: x -> -",
            "label role: web -> db",
            "daemon.json debug: false -> true",
            "daemon.json n: 1 -> -",
            "registry mirrors: - -> https://m",
            "engine's variable A: *** (old) -> *** (new)",
            "engine's variable B: *** (old) -> -",
        ]
    );
}

#[test]
fn the_engine_is_what_answers_and_not_what_is_remembered() {
    let answers = |engine: Result<&str, &str>| Seen {
        engine: Some(engine.map(Into::into).map_err(Into::into)),
        ..seen()
    };
    assert_eq!(
        told(&declared(), &record(), &answers(Ok("28.5.2"))),
        ["engine's version: 28.5.2 -> 26"]
    );
    assert_eq!(
        told(&declared(), &record(), &answers(Err("it is silent"))),
        ["engine in the machine: it is silent -> docker@26"]
    );
    let mut wanted = declared();
    wanted.wish.engine = Some(EngineWish::parse("docker@28", "upstream"));
    assert_eq!(
        told(&wanted, &record(), &seen()),
        [
            "engine: docker@26 -> docker@28 from upstream",
            "engine's version: 26.1.5+dfsg1 -> 28"
        ]
    );
    let drifted = Seen {
        lacking: vec!["log-driver".into()],
        supervisor_gone: true,
        ..seen()
    };
    assert_eq!(
        told(&declared(), &record(), &drifted),
        [
            "log-driver in the machine: changed there -> as recorded",
            "supervisor: gone -> running"
        ]
    );
}

#[test]
fn a_pin_is_the_beginning_of_a_version() {
    for (version, pinned, same) in [
        ("26.1.5+dfsg1", "26.1.5", true),
        ("26.1.5+dfsg1", "26.1", true),
        ("26.1.5", "26", true),
        ("26.1.5", "2", false),
        ("26.1.5", "26.1.50", false),
        ("28.5.2", "5:28.5.2-1~debian.13~trixie", true),
        ("28.5.2", "26.1.5-r0", false),
    ] {
        assert_eq!(is_of(version, pinned), same, "{version} {pinned}");
    }
}
