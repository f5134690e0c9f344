//! Machines selected by what they are, and the labels that they are selected by.

use serde_json::Value;
use snapbox::{assert_data_eq, str};

use crate::support::World;
use crate::world;

#[test]
fn machines_are_selected_by_what_they_are() {
    let world = World::new();
    world.create(&["web1", "web2", "-l", "role=web"]).ok();
    world
        .create(&["db1", "-l", "role=db", "-l", "tier=back"])
        .ok();
    world.berth(&["stop", "web2"]).ok();
    let picked = |args: &[&str]| {
        let ran = world.berth(&[&["ls", "-q"], args].concat()).ok();
        ran.stdout.lines().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(picked(&["web*"]), "web1 web2");
    assert_eq!(picked(&["*1", "web?"]), "db1 web1 web2");
    assert_eq!(picked(&["-l", "role!=db"]), "web1 web2");
    assert_eq!(picked(&["-l", "tier!=back", "--state", "running"]), "web1");
    assert_eq!(picked(&["-l", "tier"]), "db1");
    assert_eq!(
        picked(&["*", "-l", "role=web", "--driver", "sshd"]),
        "web1 web2"
    );
    let on = |args: &[&str]| {
        let args = [&["exec"], args, &["--", "echo", "x"]].concat();
        world.berth(&args).stdout
    };
    assert_eq!(on(&["--state", "running"]), "== db1,web1 (2) ==\nx\n");
    assert_eq!(
        on(&["web1", "web*", "-l", "role!=db", "--state", "running"]),
        "== web1 (1) ==\nx\n"
    );
    world.berth(&["start", "w*2"]).ok();
    assert_eq!(on(&["--all"]), "== db1,web[1-2] (3) ==\nx\n");
    world.berth(&["rm", "-f", "web*"]).ok();
    assert_eq!(picked(&[]), "db1");
}

#[test]
fn labels_are_set_shown_and_removed() {
    let world = world(&["web1", "web2"]);
    let labels = |name: &str| world.row(name)["labels"].to_string();
    let ran = world.berth(&["label", "web*", "role=web", "tier=a=b"]).ok();
    assert_eq!(ran.stdout, "web1\nweb2\n");
    assert_eq!(labels("web2"), r#"{"role":"web","tier":"a=b"}"#);
    world.berth(&["label", "web2", "tier-", "role="]).ok();
    assert_data_eq!(
        world.berth(&["label", "--all"]).ok().printed(),
        str![[r#"
NAME   LABELS
web1   role=web,tier=a=b
web2   role=

"#]]
    );
    let ran = world
        .berth(&["label", "-l", "tier", "tier=c", "--json"])
        .ok();
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    let expected = serde_json::json!([
        {"name": "web1", "labels": {"role": "web", "tier": "c"}, "changed": true}
    ]);
    assert_eq!(told, expected);
    let before = world.snapshot();
    world.berth(&["label", "web1", "tier=c", "gone-"]).ok();
    world.is_as_it_was(&before, "nothing was to change");
}
