//! `berth cp` to many machines and from many.

use std::fs;

use crate::support::World;

#[test]
fn files_go_to_many_and_come_from_many() {
    let world = World::new();
    world.create(&["web1", "web2", "-l", "role=web"]).ok();
    world.create(&["db1"]).ok();
    fs::create_dir_all(world.path("site/deep")).unwrap();
    fs::write(world.path("site/deep/page"), "hello").unwrap();
    let folder = |name: &str| world.file(name, "vm/srv");
    for name in ["web1", "web2", "db1"] {
        fs::create_dir(folder(name)).unwrap();
    }
    let script = "cd $HOME/srv && echo $HOME > own";
    world.berth(&["exec", "--all", "--", script]).ok();

    let target = world.path("shared");
    fs::create_dir(&target).unwrap();
    let there = format!("web*:{}", target.display());
    let ran = world.berth(&["cp", "--parallel", "1", "site", &there]).ok();
    assert_eq!(ran.stdout, "web1\nweb2\n");
    assert!(ran.stderr.contains("berth: 2 ok ("), "{ran:?}");
    let page = fs::read_to_string(target.join("site/deep/page")).unwrap();
    assert_eq!(page, "hello");

    let from = format!(":{}", target.join("site").display());
    let ran = world
        .berth(&["cp", "-l", "role=web", &from, "collected"])
        .ok();
    assert_eq!(ran.stdout, "web1\nweb2\n");
    for name in ["web1", "web2"] {
        let page = world.path(format!("collected/{name}/site/deep/page"));
        assert_eq!(fs::read_to_string(page).unwrap(), "hello");
    }

    // One that is off fails alone, and one that has no such file too.
    world.berth(&["stop", "web1"]).ok();
    let own = format!("{}/own", folder("web2").display());
    fs::remove_file(&own).unwrap();
    let ran = world
        .berth(&["cp", "--all", &format!(":{own}"), "own"])
        .code(5);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("machine web1 is stopped"), "{ran:?}");
    assert!(ran.stderr.contains("db1: tar:"), "{ran:?}");
    assert!(
        ran.stderr.contains("berth: 3 failed: db1,web[1-2] ("),
        "{ran:?}"
    );
    let own = format!("{}/own", folder("db1").display());
    let ran = world
        .berth(&["cp", "--all", &format!(":{own}"), "own"])
        .code(5);
    assert_eq!(ran.stdout, "db1\nweb2\n");
    assert!(
        ran.stderr.contains("berth: 2 ok; 1 failed: web1 ("),
        "{ran:?}"
    );

    // What is wrong for all is said once.
    let ran = world.berth(&["cp", "gone", "*:/tmp/x"]).code(1);
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    world.berth(&["cp", "--all", ":/", "own"]).code(2);
    // One machine by its name has its time too.
    let remote = format!("db1:{}", folder("db1").display());
    world
        .berth(&["cp", "--timeout", "0.001", "site", &remote])
        .code(1)
        .says("not copied within 0.001 s");

    world
        .berth(&["cp", "site", ":/tmp/x"])
        .code(2)
        .says("name a machine");
    world.berth(&["cp", "site", "x*:/tmp/x"]).code(3);
    world
        .berth(&["cp", "-l", "role=none", "site", ":/tmp/x"])
        .code(2);
}
