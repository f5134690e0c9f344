//! Commands that make no sense, or not now.

use snapbox::{assert_data_eq, str};

use crate::{table, world};

#[test]
fn commands() {
    let world = world();
    let told = table(
        &world,
        &[
            &["rm", "web1"],
            &["rm"],
            &["stop"],
            &["stop", "-l", "no=such"],
            &["ls", "--state", "nonsense"],
            &["ls", "--format", "{{.Nope}}"],
            &["ls", "--format", "{{.Name"],
            &["ls", "--json", "-q"],
            &["ls", "--timeout", "-1"],
            &["env", "web1"],
            &["use", "web1"],
            &["url", "web1"],
            &["env", "web1", "--shell", "cmd"],
            &["logs", "--supervisor", "web1"],
            &["frobnicate"],
        ],
    );
    assert_data_eq!(
        told,
        str![[r#"
$ berth rm web1
exit 2
berth: there is no terminal to ask on: say --yes

$ berth rm
exit 2
berth: name a machine, select some with -l, --driver or --state, or say --all

$ berth stop
exit 2
berth: name a machine, select some with -l, --driver or --state, or say --all

$ berth stop -l no=such
exit 2
berth: the selection: no machine matches it

$ berth ls --state nonsense
exit 2
error: invalid value 'nonsense' for '--state <STATE>'
  [possible values: creating, starting, running, paused, suspended, stopping, stopped, error, unreachable, missing]

For more information, try '--help'.

$ berth ls --format {{.Nope}}
exit 2
berth: --format: no field "Nope": there are name, driver, state, image, engine, endpoint, address, ssh, labels, cpus, memory, disk, created, active, error

$ berth ls --format {{.Name
exit 2
berth: --format: an opening {{ is never closed

$ berth ls --json -q
exit 2
error: the argument '--json' cannot be used with '--quiet'

Usage: berth ls --json [NAME]...

For more information, try '--help'.

$ berth ls --timeout -1
exit 2
error: unexpected argument '-1' found

  tip: to pass '-1' as a value, use '-- -1'

Usage: berth ls [OPTIONS] [NAME]...

For more information, try '--help'.

$ berth env web1
exit 4
berth: machine web1 has no container engine
hint: `berth provision web1 --engine docker` installs one

$ berth use web1
exit 4
berth: machine web1 has no container engine
hint: `berth provision web1 --engine docker` installs one

$ berth url web1
exit 4
berth: machine web1 has no container engine
hint: `berth provision web1 --engine docker` installs one

$ berth env web1 --shell cmd
exit 2
error: invalid value 'cmd' for '--shell <SHELL>'
  [possible values: bash, zsh, sh, fish, powershell, tcsh, nushell]

For more information, try '--help'.

$ berth logs --supervisor web1
exit 3
berth: machine web1 has no such log yet

$ berth frobnicate
exit 2
error: unrecognized subcommand 'frobnicate'

Usage: berth [OPTIONS] <COMMAND>

For more information, try '--help'.


"#]]
    );
}
