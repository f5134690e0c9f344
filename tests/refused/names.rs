//! Names that no machine can have.

use snapbox::{assert_data_eq, str};

use crate::{table, world};

#[test]
fn names() {
    let world = world();
    let long = "x".repeat(300);
    let told = table(
        &world,
        &[
            &["create", ".."],
            &["create", "--", "-x"],
            &["create", "default"],
            &["create", "a"],
            &["create", &long],
            &["create", "maschinö"],
            &["create", "Web"],
            &["create", "a/b"],
            &["create", ""],
            &["create", "twice", "twice"],
            &["start", ".."],
            &["rm", "-y", "../web1"],
            &["rm", "-y", "web2"],
            &["inspect", "web1", "web2"],
            &["ssh", "web2"],
            &["use", "web2"],
            &["logs", "../../etc/passwd"],
        ],
    );
    assert_data_eq!(
        told,
        str![[r#"
$ berth create ..
exit 2
berth: ".." cannot be a machine's name: a name has only lower-case letters a-z, digits and hyphens

$ berth create -- -x
exit 2
berth: "-x" cannot be a machine's name: a name neither starts nor ends with a hyphen

$ berth create default
exit 2
berth: "default" cannot be a machine's name: docker keeps this name for its own context

$ berth create a
exit 2
berth: "a" cannot be a machine's name: a name has 2 to 63 characters

$ berth create xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
exit 2
berth: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" cannot be a machine's name: a name has 2 to 63 characters

$ berth create maschinö
exit 2
berth: "maschinö" cannot be a machine's name: a name has only lower-case letters a-z, digits and hyphens

$ berth create Web
exit 2
berth: "Web" cannot be a machine's name: a name has only lower-case letters a-z, digits and hyphens

$ berth create a/b
exit 2
berth: "a/b" cannot be a machine's name: a name has only lower-case letters a-z, digits and hyphens

$ berth create 
exit 2
berth: "" cannot be a machine's name: a name has 2 to 63 characters

$ berth create twice twice
exit 2
berth: twice is named twice

$ berth start ..
exit 3
berth: there is no machine ..
hint: there are: web1

$ berth rm -y ../web1
exit 3
berth: there is no machine ../web1
hint: there are: web1

$ berth rm -y web2
exit 3
berth: there is no machine web2
hint: there are: web1

$ berth inspect web1 web2
exit 3
berth: there is no machine web2
hint: there are: web1

$ berth ssh web2
exit 3
berth: there is no machine web2
hint: there are: web1

$ berth use web2
exit 3
berth: there is no machine web2
hint: there are: web1

$ berth logs ../../etc/passwd
exit 3
berth: there is no machine ../../etc/passwd
hint: there are: web1


"#]]
    );
}
