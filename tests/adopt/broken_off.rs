//! Hosts that go away, and what broke off on the way.

use std::fs;

use snapbox::{assert_data_eq, str};

use crate::adopt;
use crate::support::World;
use crate::support::host::Host;

#[test]
fn a_host_that_goes_away_and_comes_back() {
    let world = World::new();
    let mut host = Host::start(&world, "h", "");
    adopt(&world, "h1", &host, &[]).ok();
    host.stop();
    let row = world.row("h1");
    assert_eq!(row["state"], "unreachable");
    assert!(row["error"].as_str().unwrap().contains("refused"), "{row}");
    let ran = world.berth(&["start", "h1"]).code(4);
    assert_data_eq!(
        ran.told(),
        str![[r#"
exit 4
TIME h1: Looking whether it answers
berth: machine h1: the ssh driver cannot power h1 on, which does not answer: Connection refused (os error 111)

"#]]
    );
}

#[test]
fn what_broke_off_goes_on_or_goes_away() {
    let world = World::new();
    let host = Host::start(&world, "h", "");
    let options = host.options();
    let keys = || fs::read_to_string(host.path("home/.ssh/authorized_keys")).unwrap();
    let before = keys();
    for at in [
        "create:disk:work",
        "create:host-key:begin",
        "create:host-key:work",
        "create:connect:begin",
        "create:connect:work",
    ] {
        let mut args = vec!["create", "h1", "--engine", "none", "-o", "install-key=true"];
        args.extend(options.iter().map(String::as_str));
        let died = world.finish(world.command(&args).env("BERTH_DIE_AT", at));
        assert_eq!(died.code, -9, "{at}: {died:?}");
        assert_eq!(world.state("h1"), "creating", "{at}");
        world.berth(&["create", "--resume", "h1"]).ok();
        world.berth(&["ssh", "h1", "--", "true"]).ok();
        let died = world.finish(
            world
                .command(&["rm", "-y", "h1"])
                .env("BERTH_DIE_AT", "rm:key:work"),
        );
        assert_eq!(died.code, -9, "{at}: {died:?}");
        world.berth(&["rm", "-y", "h1"]).ok();
        assert_eq!(keys().trim(), before.trim(), "{at}");
        assert_eq!(world.row("h1"), serde_json::Value::Null);
    }
}
