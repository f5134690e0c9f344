//! Finding lost machines again: what cannot be done is refused before anything is done.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use snapbox::{assert_data_eq, str};
use support::World;

#[test]
fn what_no_driver_finds_again() {
    let world = World::new();
    world.create(&["web1"]).ok();
    let before = world.snapshot();
    let mut told = String::new();
    for args in [
        &["driver", "adopt", "sshd"][..],
        &["driver", "adopt", "sshd", "web1", "--restart"],
        &["driver", "adopt", "no-such", "--all"],
        &["driver", "adopt", "../x"],
    ] {
        let ran = world.berth(args);
        assert_ne!(ran.code, 0, "{args:?}: {ran:?}");
        told += &format!("$ berth {}\n{}\n", args.join(" "), ran.told());
        world.is_as_it_was(&before, &args.join(" "));
    }
    assert_data_eq!(
        told,
        str![[r#"
$ berth driver adopt sshd
exit 4
berth: the sshd driver cannot find machines again

$ berth driver adopt sshd web1 --restart
exit 4
berth: the sshd driver cannot find machines again

$ berth driver adopt no-such --all
exit 3
berth: there is no driver no-such
hint: there are: qemu, uml, virtualbox, ssh, sshd

$ berth driver adopt ../x
exit 3
berth: there is no driver ../x
hint: there are: qemu, uml, virtualbox, ssh, sshd


"#]]
    );
}

#[test]
fn what_does_not_go_together() {
    let world = World::new();
    for args in [
        &["driver", "adopt"][..],
        &["driver", "adopt", "sshd", "web1", "--all"],
        &["driver", "adopt", "sshd", "web1", "--json"],
        &["driver", "adopt", "sshd", "-o", "uri"],
        &["driver", "adopt", "sshd", "--timeout", "soon"],
    ] {
        world.berth(args).code(2);
    }
}
