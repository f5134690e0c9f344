//! Words that make no sense to `berth exec` and `berth label`.

use snapbox::{assert_data_eq, str};

use crate::world;

#[test]
fn what_makes_no_sense_is_refused() {
    let world = world(&["web1"]);
    let before = world.snapshot();
    let mut all = String::new();
    for args in [
        &["exec", "--", "true"][..],
        &["exec", "web1"],
        &["exec", "web1", "--all", "--", "true"],
        &["exec", "db*", "--", "true"],
        &["exec", "web[12]", "--", "true"],
        &["exec", "-l", "role=db", "--", "true"],
        &["exec", "-l", "=db", "--", "true"],
        &["exec", "web1", "--parallel", "0", "--", "true"],
        &["exec", "web1", "--timeout", "soon", "--", "true"],
        &["exec", "web1", "--deadline", "-1", "--", "true"],
        &["exec", "web1", "-e", "A B=c", "--", "true"],
        &["exec", "web1", "--cd", "", "--", "true"],
        &["label", "role=web"],
        &["label", "web1", "=x"],
        &["label", "web1", "-"],
        &["label", "web1", "a!=x"],
        &["label", "web2", "a=x"],
    ] {
        let ran = world.berth(args);
        let told = ran.told();
        // What follows clap's first words is its usage.
        let told: Vec<&str> = told.lines().take(2).collect();
        all += &format!("$ berth {}\n{}\n", args.join(" "), told.join("\n"));
        world.is_as_it_was(&before, &args.join(" "));
    }
    assert_data_eq!(
        all,
        str![[r#"
$ berth exec -- true
exit 2
berth: name a machine, select some with -l, --driver or --state, or say --all
$ berth exec web1
exit 2
error: the following required arguments were not provided:
$ berth exec web1 --all -- true
exit 2
berth: --all: some machines are named as well: it is either
$ berth exec db* -- true
exit 3
berth: there is no machine db*
$ berth exec web[12] -- true
exit 3
berth: there is no machine web[12]
$ berth exec -l role=db -- true
exit 2
berth: the selection: no machine matches it
$ berth exec -l =db -- true
exit 2
error: invalid value '=db' for '--label <KEY=VALUE>': write KEY=VALUE, KEY!=VALUE or KEY
$ berth exec web1 --parallel 0 -- true
exit 2
error: invalid value '0' for '--parallel <N>': 0 is not in 1..=4096
$ berth exec web1 --timeout soon -- true
exit 2
error: invalid value 'soon' for '--timeout <SECONDS>': write seconds, such as 30 or 0.5
$ berth exec web1 --deadline -1 -- true
exit 2
error: unexpected argument '-1' found
$ berth exec web1 -e A B=c -- true
exit 2
error: invalid value 'A B=c' for '--env <NAME=VALUE>': write NAME=VALUE, NAME of letters, digits and _
$ berth exec web1 --cd  -- true
exit 2
error: a value is required for '--cd <DIR>' but none was supplied
$ berth label role=web
exit 2
berth: name a machine, select some with -l, --driver or --state, or say --all
$ berth label web1 =x
exit 2
berth: label: "" is not a label's name
$ berth label web1 -
exit 2
berth: label: "-" is neither KEY=VALUE nor KEY-
$ berth label web1 a!=x
exit 2
berth: label: "a!" is not a label's name
$ berth label web2 a=x
exit 3
berth: there is no machine web2

"#]]
    );
}
