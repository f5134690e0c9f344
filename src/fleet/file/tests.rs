use std::collections::BTreeMap;

use berth_driver_api::Spec;
use snapbox::{assert_data_eq, str};

use super::*;
use crate::machine::{EngineWish, ImageRef, Member, Mount, Record};

fn parse(text: &str) -> Result<Fleet, Error> {
    let path = Path::new("fleet.toml");
    Fleet::parse(path, Path::new("/srv/fleet"), text).map_err(|wrong| wrong.in_file(path, text))
}

fn names(fleet: &Fleet) -> Vec<String> {
    fleet
        .machines
        .iter()
        .map(|machine| format!("{}/{}", machine.group, machine.name))
        .collect()
}

#[test]
fn machines_are_named_by_a_pattern_a_list_or_their_group() {
    let fleet = parse(
        "fleet = 'f'\n[groups.a]\ncount = 2\n[groups.b]\nname = 'x{n}y'\ncount = 1\n[groups.c]\nnames = ['one', 'two']\n\
         [groups.d]\nname = 'only'\n[groups.none]\ncount = 0\n[groups.base]\ncpus = 1\n",
    )
    .unwrap();
    assert_eq!(
        names(&fleet),
        ["a/a-1", "a/a-2", "b/x1y", "c/one", "c/two", "d/only"]
    );
    assert_eq!(fleet.group("a").unwrap(), ["a-1", "a-2"]);
    assert!(fleet.group("base").unwrap().is_empty());
    assert!(fleet.group("z").unwrap_err().hint().is_some());
}

#[test]
fn groups_have_what_they_extend_and_then_the_defaults() {
    let fleet = parse(
        r#"
        fleet = "f"
        [defaults]
        memory = "1G"
        engine = "docker@26"
        labels = { env = "prod", tier = "low" }
        daemon = { debug = false, log-driver = "local" }
        registry-mirrors = ["https://a"]
        [groups.base]
        channel = "bundle:docker.tar"
        cpus = 2
        image = "./disk.qcow2"
        labels = { tier = "mid" }
        [groups.web]
        name = "web"
        extends = "base"
        memory = "512M"
        registry-mirrors = []
        daemon = { debug = true }
        options = { mute = false, port = 7 }
        "#,
    )
    .unwrap();
    let wish = &fleet.machines[0].wish;
    assert_eq!((wish.cpus, wish.memory), (Some(2), Some(512 << 20)));
    assert_eq!(wish.image.as_deref(), Some("/srv/fleet/disk.qcow2"));
    let engine = wish.engine.as_ref().unwrap();
    assert_eq!(engine.version.as_deref(), Some("26"));
    assert_eq!(engine.channel, "bundle:/srv/fleet/docker.tar");
    assert_eq!(wish.labels["env"], "prod");
    assert_eq!(wish.labels["tier"], "mid");
    assert!(wish.settings.registry_mirrors.is_empty());
    let daemon: serde_json::Value =
        serde_json::from_str(wish.settings.daemon_json.as_deref().unwrap()).unwrap();
    assert_eq!(
        daemon,
        serde_json::json!({"debug": true, "log-driver": "local"})
    );
    assert_eq!(wish.options["mute"], "false");
    assert_eq!(wish.options["port"], "7");
}

/// Every file is wrong, and says where.
#[test]
fn what_is_wrong_is_shown_where_it_stands() {
    let mut told = String::new();
    for text in [
        "",
        "fleet = ",
        "fleet = 'a b'",
        "fleet = 'f'\n[group.web]\ncount = 1",
        "fleet = 'f'\n[groups.web]\ncount = 1\nmemroy = '1G'",
        "fleet = 'f'\n[groups.web]\nzzz = 1",
        "fleet = 'f'\n[groups.web]\ncount = -1",
        "fleet = 'f'\n[groups.web]\ncount = 'three'",
        "fleet = 'f'\n[groups.web]\ncount = 10001",
        "fleet = 'f'\n[groups.web]\nname = 'web'\ncount = 2",
        "fleet = 'f'\n[groups.web]\nname = 'web-{n}'",
        "fleet = 'f'\n[groups.web]\nname = 'web'\nnames = ['x1']",
        "fleet = 'f'\n[groups.web]\ncount = 2\nnames = ['x1']",
        "fleet = 'f'\n[groups.web]\nnames = ['x1', 'X2']",
        "fleet = 'f'\n[groups.WEB]\ncount = 1",
        "fleet = 'f'\n[groups.web]\nnames = ['x1', 'x1']",
        "fleet = 'f'\n[groups.a]\nname = 'x1'\n[groups.b]\nname = 'x1'",
        "fleet = 'f'\n[groups.a]\nextends = 'bb'\n[groups.bbb]\nname = 'x1'",
        "fleet = 'f'\n[groups.a]\nextends = 'b'\n[groups.b]\nextends = 'a'",
        "fleet = 'f'\n[groups.a]\nextends = 'a'",
        "fleet = 'f'\n[defaults]\ncount = 1",
        "fleet = 'f'\n[groups.a]\nmemory = '1PB'",
        "fleet = 'f'\n[groups.a]\ncpus = 0",
        "fleet = 'f'\n[groups.a]\ndigest = 'md5:0'",
        "fleet = 'f'\n[groups.a]\nengine = 'dokcer'",
        "fleet = 'f'\n[groups.a]\nengine = 'docker@newest'",
        "fleet = 'f'\n[groups.a]\nengine = 'none@1'",
        "fleet = 'f'\n[groups.a]\nchannel = 'pigeon'",
        "fleet = 'f'\n[groups.a]\nlabels = { 'x!' = 'y' }",
        "fleet = 'f'\n[groups.a]\nmounts = ['/no/such/folder']",
        "fleet = 'f'\n[groups.a]\nmounts = ['/srv:/etc']",
        "fleet = 'f'\n[groups.a]\ndaemon = { hosts = ['tcp://0.0.0.0'] }",
        "fleet = 'f'\n[groups.a]\ndaemon = { x = [1979-05-27] }",
        "fleet = 'f'\n[groups.a]\nregistry-mirrors = ['mirror']",
        "fleet = 'f'\n[groups.web]\ncount = 3\nswarm = { managers = 2 }",
        "fleet = 'f'\n[groups.web]\ncount = 3\nswarm = { managers = 5, name = 'sw' }",
        "fleet = 'f'\n[groups.a]\ncount = 1\nswarm = {}",
        "fleet = 'f'\n[groups.sw]\nname = 'sw'\nswarm = {}",
        "fleet = 'f'\n[rollout]\ncanaries = 1",
        "fleet = 'f'\n[rollout]\ncanary = '10%'",
        "fleet = 'f'\n[rollout]\nbatch = '0%'",
        "fleet = 'f'\n[rollout]\nmax-failures = '101%'",
        "fleet = 'f'\n[rollout]\npause = '1d'",
    ] {
        let error = parse(text).unwrap_err();
        let hint = error
            .hint()
            .map(|hint| format!(" ({hint})"))
            .unwrap_or_default();
        told += &format!("{error}{hint}\n");
    }
    assert_data_eq!(
        told,
        str![[r#"
fleet.toml:1:1: missing field `fleet`
fleet.toml:1:9: string values must be quoted, expected literal string
fleet.toml:1:9: a fleet's name has 1 to 63 letters, digits, dots, hyphens and underscores
fleet.toml:2:2: there is no key "group" (did you mean groups?)
fleet.toml:4:1: there is no key "memroy" (did you mean memory?)
fleet.toml:3:1: there is no key "zzz" (there are: extends, name, names, count, protect, driver, cpus, memory, disk, image, digest, cloud-init, engine, channel, tls, labels, mounts, options, swarm, daemon, registry-mirrors, insecure-registries, engine-labels, engine-env)
fleet.toml:3:9: invalid value: integer `-1`, expected u32
fleet.toml:3:9: invalid type: string "three", expected u32
fleet.toml:3:9: a group has 10000 machines at most
fleet.toml:3:8: "web" has no {n} where the machine's number goes
fleet.toml:3:8: {n} needs a count of machines, such as count = 3
fleet.toml:3:8: a group has a name or names, not both
fleet.toml:3:9: names that are listed are not counted
fleet.toml:3:16: "X2" cannot be a machine's name: a name has only lower-case letters a-z, digits and hyphens
fleet.toml:3:9: "WEB-1" cannot be a machine's name: a name has only lower-case letters a-z, digits and hyphens
fleet.toml:3:16: x1 is named twice
fleet.toml:5:8: x1 is in group a already
fleet.toml:3:11: there is no group "bb" (did you mean bbb?)
fleet.toml:5:11: a extends itself in the end
fleet.toml:3:11: a extends itself in the end
fleet.toml:3:9: count is said of a group, not of all
fleet.toml:3:10: "pb" is not a unit of size: use K, M, G or T
fleet.toml:3:8: a machine has at least one
fleet.toml:3:10: a digest is sha256: and 64 hex digits, or sha512: and 128
fleet.toml:3:10: "dokcer" is not an engine: docker, podman, none
fleet.toml:3:10: "newest" is not a version: latest, or one such as 26.1 or 26.1.5
fleet.toml:3:10: no engine has no version
fleet.toml:3:11: "pigeon" is not a channel: distro, upstream, bundle:PATH
fleet.toml:3:19: label: "x!" is not a label's name
fleet.toml:3:11: mount: /no/such/folder: No such file or directory (os error 2)
fleet.toml:3:11: mount: /etc in the machine is its system's: name another place, such as /srv/work
fleet.toml:3:10: daemon-json: it has hosts: berth reaches the engine by its socket; see `berth certs enable`
fleet.toml:3:10: JSON has no dates: write it as text
fleet.toml:2:9: registry-mirror: "mirror" is not a URL such as https://mirror.example.org
fleet.toml:4:9: 2 managers: a swarm decides by more than half of them, so an even number bears no more failures than one less
fleet.toml:4:9: 5 managers of 3 machines
fleet.toml:4:9: the swarm's name: "a" cannot be a machine's name: a name has 2 to 63 characters
fleet.toml:2:9: a machine has the swarm's name sw: give the swarm another
fleet.toml:3:1: there is no key "canaries" (did you mean canary?)
fleet.toml:3:10: invalid type: string "10%", expected usize
fleet.toml:3:9: a batch has one machine at least
fleet.toml:3:16: write a number of machines, or a part of them from 0% to 100%
fleet.toml:3:9: write seconds, or such as "30s", "5m" or "1h"

"#]]
    );
}

#[test]
fn an_exported_file_says_what_the_machines_are() {
    let folder = tempfile::tempdir().unwrap();
    let host = folder.path().canonicalize().unwrap();
    let spec = Spec {
        cpus: 2,
        memory: 1536 << 20,
        disk: 1 << 34,
        image: None,
        options: BTreeMap::from([("network".into(), "user".into())]),
    };
    let make = |name: &str| {
        let mut record = Record::new(
            name,
            "qemu",
            &spec,
            EngineWish::parse("docker@28", "upstream"),
        );
        record.image = Some(ImageRef {
            reference: "debian-13".into(),
            digest: "sha256:0".into(),
        });
        record.labels = BTreeMap::from([("role".into(), "a \"b\"".into())]);
        record.mounts = vec![Mount::parse(&format!("{}:/srv/x:ro", host.display())).unwrap()];
        record.settings.daemon_json =
            Some(r#"{"debug": true, "log-opts": {"max-size": "1m"}, "n": 3, "z": null}"#.into());
        record.settings.environment = BTreeMap::from([("A".into(), "secret".into())]);
        record
    };
    let mut other = make("web-3");
    other.labels.clear();
    other.member = Some(Member {
        fleet: "f".into(),
        group: "web".into(),
        protect: true,
        image: None,
        unknown: toml::Table::new(),
    });
    let (text, secrets) = export("f", &[make("web-1"), make("web-2"), other]);
    assert_eq!(secrets, ["web-1", "web-2", "web-3"]);
    assert!(
        text.starts_with("# TOML cannot say null: z in the daemon.json of web-1\n"),
        "{text}"
    );
    let fleet = parse(&text).unwrap();
    assert_eq!(names(&fleet), ["web/web-1", "web/web-2", "web.2/web-3"]);
    let first = &fleet.machines[0].wish;
    assert_eq!(
        (first.cpus, first.memory, first.disk),
        (Some(2), Some(1536 << 20), Some(1 << 34))
    );
    assert_eq!(first.labels["role"], "a \"b\"");
    assert_eq!(first.mounts, make("web-1").mounts);
    assert_eq!(first.engine, Some(make("x").engine));
    assert_eq!(first.settings.environment, make("x").settings.environment);
    assert!(fleet.machines[2].protect && fleet.machines[2].wish.labels.is_empty());
}
