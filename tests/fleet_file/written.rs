//! A fleet file that berth writes, and its groups as other commands take them.

use std::fs;

use serde_json::Value;

use crate::Fleet;
use crate::support::World;

#[test]
fn an_exported_file_is_what_there_is() {
    let world = World::new();
    assert_eq!(
        world.berth(&["fleet", "export"]).ok().stdout,
        "fleet = \"fleet\"\n\n[groups]\n"
    );
    fs::write(
        world.path("d.json"),
        r#"{"debug": true, "log-opts": {"max-size": "1m"}}"#,
    )
    .unwrap();
    world
        .create(&[
            "web-1",
            "web-2",
            "-l",
            "role=web",
            "--daemon-json",
            "d.json",
            "--engine-env",
            "A=secret",
        ])
        .ok();
    world
        .create(&["db", "--cpus", "1", "-o", "mute=false"])
        .ok();
    let out = world.path("fleet.toml").display().to_string();
    world.berth(&["fleet", "export", "-o", &out]).ok();
    let text = fs::read_to_string(&out).unwrap();
    assert!(text.contains("names = [\"web-1\", \"web-2\"]"), "{text}");
    assert_eq!(world.plan().code(0).stdout.lines().count(), 1);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&out).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    world
        .berth(&["fleet", "export", "web-1"])
        .ok()
        .says("variables of web-1 are in it");
    // Applied, they are the fleet's, and its file is the same.
    world.apply().ok();
    assert_eq!(world.berth(&["fleet", "export"]).ok().stdout, text);
    world
        .berth(&["fleet", "export", "--fleet", "x"])
        .code(2)
        .says("of fleet fleet, not of x");
    let schema = world.berth(&["fleet", "schema"]).ok().stdout;
    let schema: Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["title"], "berth fleet file");
}

#[test]
fn groups_are_selectors() {
    let world = World::new();
    world
        .declare("[groups.web]\ncount = 2\n[groups.db]\nname = 'db'\n[groups.new]\nname = 'new'\n");
    world.create(&["web-1", "web-2", "db", "else"]).ok();
    let ls = |args: &[&str]| {
        let ran = world.berth(&[&["ls", "-q"], args].concat()).ok();
        ran.lines().join(" ")
    };
    assert_eq!(ls(&["--group", "web"]), "web-1 web-2");
    assert_eq!(ls(&["--group", "web", "--group", "db"]), "db web-1 web-2");
    assert_eq!(ls(&["*1", "--group", "web"]), "web-1");
    fs::rename(world.path("fleet.toml"), world.path("my.toml")).unwrap();
    assert_eq!(ls(&["--group", "db", "--fleet-file", "my.toml"]), "db");
    world
        .berth(&["ls", "--group", "web"])
        .code(2)
        .says("fleet.toml");
    world.berth(&["ls", "--fleet-file", "my.toml"]).code(2);
    let file = ["--fleet-file", "my.toml"];
    world
        .berth(&[&["stop", "--group", "wbe"], &file[..]].concat())
        .code(2)
        .says("has no group \"wbe\": there are: db, new, web");
    world
        .berth(&[&["stop", "--group", "new"], &file[..]].concat())
        .code(2)
        .says("no machine matches it");
}
