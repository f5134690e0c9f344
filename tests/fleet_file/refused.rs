//! What a fleet file cannot say, and what the commands that read one are not to be told.

use std::fs;

use snapbox::{assert_data_eq, str};

use crate::Fleet;
use crate::support::World;

#[test]
fn what_cannot_be_is_refused_before_anything_is_done() {
    let world = World::new();
    world.create(&["web-1"]).ok();
    let before = world.snapshot();
    let mut told = String::new();
    let mut tell = |args: &[&str]| {
        told += &format!("$ berth {}\n{}\n", args.join(" "), world.berth(args).told());
    };
    tell(&["plan"]);
    tell(&["apply", "-f", "/etc"]);
    fs::write(
        world.path("fleet.toml"),
        "fleet = 'f'\n[groups.web]\nmemroy = '1G'\n",
    )
    .unwrap();
    tell(&["plan"]);
    tell(&["apply", "--yes"]);
    world.declare("[groups.web]\ncount = 1\nlabels = { a = 'b' }\n");
    tell(&["plan", "--ask", "0"]);
    tell(&["plan", "--parallel", "0"]);
    tell(&["apply", "--timeout", "x"]);
    tell(&["apply"]);
    tell(&["fleet", "export", "nobody"]);
    tell(&["fleet", "export", "-l", "x=y"]);
    fs::write(world.path("long.toml"), vec![b'#'; 5 << 20]).unwrap();
    tell(&["plan", "-f", "long.toml"]);
    assert_data_eq!(
        told,
        str![[r#"
$ berth plan
exit 3
berth: fleet.toml: No such file or directory (os error 2)
hint: name the file with -f; `berth fleet export` writes one for the machines that there are

$ berth apply -f /etc
exit 1
berth: /etc: Is a directory (os error 21)

$ berth plan
exit 2
berth: fleet.toml:3:1: there is no key "memroy"
hint: did you mean memory?

$ berth apply --yes
exit 2
berth: fleet.toml:3:1: there is no key "memroy"
hint: did you mean memory?

$ berth plan --ask 0
exit 2
error: invalid value '0' for '--ask <SECONDS>': 0 is not in 1..=PORT

For more information, try '--help'.

$ berth plan --parallel 0
exit 2
error: invalid value '0' for '--parallel <N>': 0 is not in 1..=4096

For more information, try '--help'.

$ berth apply --timeout x
exit 2
error: invalid value 'x' for '--timeout <SECONDS>': invalid digit found in string

For more information, try '--help'.

$ berth apply
exit 5
! web-1: left alone (it would have to be replaced, and was not made for this fleet)
    - image sha256:[..]
    + image WORLD/tiny.qcow2
    + label a b
fleet prod: 1 left alone

$ berth fleet export nobody
exit 3
berth: there is no machine nobody
hint: there are: web-1

$ berth fleet export -l x=y
exit 2
berth: no machine matches the selection

$ berth plan -f long.toml
exit 1
berth: long.toml: it is too long for a fleet file


"#]]
    );
    world.is_as_it_was(&before, "refused");
}
