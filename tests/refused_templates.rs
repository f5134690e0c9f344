//! What cannot be done with templates is refused: an exit code, words that help, and nothing changed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use snapbox::{assert_data_eq, str};
use support::World;

#[test]
fn templates() {
    let world = World::new();
    world.create(&["web1"]).ok();
    let before = world.snapshot();
    let long = "x".repeat(300);
    let lines: &[&[&str]] = &[
        &["template", "rm", "3f2a"],
        &["template", "rm", "../web1"],
        &["template", "rm", ""],
        &["template", "rm", &long],
        &["template", "rm"],
        &["template", "build", "-d", "nosuch"],
        &["template", "build", "--memory", "lots"],
        &["template", "build", "--cpus", "-1"],
        &["template", "build", "-o", "x"],
        &["template", "build", "-d", "sshd"],
        &["template", "prune"],
        &["template", "prune", "--yes", "--keep", "much"],
    ];
    let mut told = String::new();
    for args in lines {
        let ran = world.berth(args);
        assert_ne!(ran.code, 0, "{args:?}: {ran:?}");
        told += &format!("$ berth {}\n{}\n", args.join(" "), ran.told());
        world.is_as_it_was(&before, &args.join(" "));
    }
    let told = told.replace(&long, "XXX");
    assert_data_eq!(
        told,
        str![[r#"
$ berth template rm 3f2a
exit 3
berth: there is no template 3f2a
hint: `berth template ls` lists them

$ berth template rm ../web1
exit 3
berth: there is no template ../web1
hint: `berth template ls` lists them

$ berth template rm 
exit 3
berth: there is no template
hint: `berth template ls` lists them

$ berth template rm XXX
exit 3
berth: there is no template xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
hint: `berth template ls` lists them

$ berth template rm
exit 2
error: the following required arguments were not provided:
  <TEMPLATE>...

Usage: berth template rm <TEMPLATE>...

For more information, try '--help'.

$ berth template build -d nosuch
exit 3
berth: there is no driver nosuch
hint: there are: qemu, uml, virtualbox, ssh, sshd

$ berth template build --memory lots
exit 2
error: invalid value 'lots' for '--memory <SIZE>': "lots" is not a size such as 2G or 512M

For more information, try '--help'.

$ berth template build --cpus -1
exit 2
error: unexpected argument '-1' found

Usage: berth template build [OPTIONS]

For more information, try '--help'.

$ berth template build -o x
exit 2
error: invalid value 'x' for '--option <KEY=VALUE>': write KEY=VALUE

For more information, try '--help'.

$ berth template build -d sshd
exit 4
berth: making a template: the sshd driver cannot freeze machines
hint: the driver qemu can: name it by --driver; by others machines are made as ever

$ berth template prune
exit 2
berth: there is no terminal to ask on: say --yes

$ berth template prune --yes --keep much
exit 2
error: invalid value 'much' for '--keep <SIZE>': "much" is not a size such as 2G or 512M

For more information, try '--help'.


"#]]
    );
}

#[test]
fn without_templates_there_is_nothing_to_list_or_prune() {
    let world = World::new();
    world.create(&["web1"]).ok();
    let listed = world.berth(&["template", "ls", "--json"]).ok();
    assert_eq!(listed.stdout.trim(), "[]");
    world.berth(&["template", "prune", "--yes"]).ok();
}
