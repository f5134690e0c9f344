//! Suspending, snapshots and copies: what cannot be done is refused before anything is done.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use snapbox::{assert_data_eq, str};
use support::World;

/// Runs each line; all must fail, tell why, and change nothing.
fn refused(world: &World, lines: &[&[&str]]) -> String {
    let before = world.snapshot();
    let mut told = String::new();
    for args in lines {
        let ran = world.berth(args);
        assert_ne!(ran.code, 0, "{args:?}: {ran:?}");
        let line = args.join(" ");
        told += &format!("$ berth {line}\n{}\n", ran.told());
        world.is_as_it_was(&before, &line);
    }
    told
}

#[test]
fn a_driver_that_can_none_of_it() {
    let world = World::new();
    world.create(&["web1"]).ok();
    let told = refused(
        &world,
        &[
            &["suspend", "web1"],
            &["resume", "web1"],
            &["snapshot", "create", "web1"],
            &["snapshot", "ls", "web1"],
            &["snapshot", "restore", "web1", "s1"],
            &["snapshot", "rm", "web1", "s1"],
            &["clone", "web1", "web2"],
        ],
    );
    assert_data_eq!(
        told,
        str![[r#"
$ berth suspend web1
exit 4
berth: machine web1: the sshd driver cannot suspend machines

$ berth resume web1
exit 4
berth: machine web1: the sshd driver cannot suspend machines

$ berth snapshot create web1
exit 4
berth: machine web1: the sshd driver cannot take snapshots

$ berth snapshot ls web1
exit 4
berth: machine web1: the sshd driver cannot take snapshots

$ berth snapshot restore web1 s1
exit 4
berth: machine web1: the sshd driver cannot take snapshots

$ berth snapshot rm web1 s1
exit 4
berth: machine web1: the sshd driver cannot take snapshots

$ berth clone web1 web2
exit 4
berth: machine web1: the sshd driver cannot copy machines


"#]]
    );
    assert_eq!(world.state("web1"), "running");
}

#[test]
fn names_and_machines_that_are_none() {
    let world = World::new();
    world.create(&["web1"]).ok();
    let told = refused(
        &world,
        &[
            &["suspend"],
            &["suspend", "web9"],
            &["resume", "web9"],
            &["snapshot", "create", "web1", "../x"],
            &["snapshot", "create", "web1", "-x"],
            &["snapshot", "create", "web1", "a b"],
            &["snapshot", "create", "web1", ""],
            &["snapshot", "ls", "web9"],
            &["snapshot", "restore", "web1"],
            &["snapshot", "rm", "web1"],
            &["clone", "web1"],
            &["clone", "web9", "web2"],
            &["clone", "web1", "Web"],
            &["clone", "web1", "web2", "web2"],
        ],
    );
    assert_data_eq!(
        told,
        str![[r#"
$ berth suspend
exit 2
berth: name a machine, select some with -l, --driver or --state, or say --all

$ berth suspend web9
exit 3
berth: there is no machine web9
hint: there are: web1

$ berth resume web9
exit 3
berth: there is no machine web9
hint: there are: web1

$ berth snapshot create web1 ../x
exit 2
berth: machine web1: snapshot=../x: may have letters, digits and - _ . only

$ berth snapshot create web1 -x
exit 2
error: unexpected argument '-x' found

  tip: to pass '-x' as a value, use '-- -x'

Usage: berth snapshot create [OPTIONS] <NAME> [SNAPSHOT]

For more information, try '--help'.

$ berth snapshot create web1 a b
exit 2
berth: machine web1: snapshot=a b: may have letters, digits and - _ . only

$ berth snapshot create web1 
exit 2
berth: machine web1: snapshot=: must have 1 to 63 characters

$ berth snapshot ls web9
exit 3
berth: there is no machine web9
hint: there are: web1

$ berth snapshot restore web1
exit 2
error: the following required arguments were not provided:
  <SNAPSHOT>

Usage: berth snapshot restore <NAME> <SNAPSHOT>

For more information, try '--help'.

$ berth snapshot rm web1
exit 2
error: the following required arguments were not provided:
  <SNAPSHOT>...

Usage: berth snapshot rm <NAME> <SNAPSHOT>...

For more information, try '--help'.

$ berth clone web1
exit 2
error: the following required arguments were not provided:
  <NAME>...

Usage: berth clone <SOURCE> <NAME>...

For more information, try '--help'.

$ berth clone web9 web2
exit 3
berth: there is no machine web9
hint: there are: web1

$ berth clone web1 Web
exit 2
berth: "Web" cannot be a machine's name: a name has only lower-case letters a-z, digits and hyphens

$ berth clone web1 web2 web2
exit 2
berth: a name is given twice


"#]]
    );
}
