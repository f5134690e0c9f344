//! The key that a host shows, and what is known of it.

use std::fs;
use std::process::Command;

use snapbox::{assert_data_eq, str};

use crate::adopt;
use crate::support::World;
use crate::support::host::{Host, user_config};

#[test]
fn a_changed_host_key_is_refused_until_it_is_accepted() {
    let world = World::new();
    let mut host = Host::start(&world, "h", "");
    adopt(&world, "h1", &host, &[]).ok();
    let old = host.fingerprint();
    let told = world.berth(&["host-key", "h1"]).ok().stdout;
    assert_eq!(
        told,
        format!("accepted  ssh-ed25519 {old}\nshown     ssh-ed25519 {old}\n")
    );
    host.change_key("");
    let new = host.fingerprint();
    let row = world.row("h1");
    assert_eq!(row["state"], "error");
    let error = row["error"].as_str().unwrap();
    assert!(error.contains(&old) && error.contains(&new), "{error}");
    world.berth(&["ssh", "h1", "--", "true"]).code(255);
    let ran = world.berth(&["start", "h1"]).code(1);
    assert_data_eq!(
        ran.told().replace(&old, "OLD").replace(&new, "NEW"),
        str![[r#"
exit 1
TIME h1: Looking whether it answers
berth: machine h1: h1.berth does not have the host key recorded in WORLD/b/machines/h1/known_hosts, ssh-ed25519 OLD: it offers ssh-ed25519 NEW. Either the machine was rebuilt, or something stands between
hint: if the machine was made anew, `berth host-key h1` shows its key and how to accept it; otherwise find out who answers there

"#]]
    );
    // Only the key that the host really shows.
    world
        .berth(&["host-key", "h1", "--accept", &old])
        .code(1)
        .says("has no host key");
    world.berth(&["host-key", "h1", "--accept", &new]).ok();
    assert_eq!(world.state("h1"), "running");
    world.berth(&["ssh", "h1", "--", "true"]).ok();
}

#[test]
fn what_is_known_of_the_host_key_holds() {
    let world = World::new();
    let host = Host::start(&world, "h", "");
    let stranger = format!("SHA256:{}", "A".repeat(43));
    let fingerprint = format!("host-key={}", host.fingerprint());
    let public = format!("host-key={} a comment", host.public_key());
    adopt(&world, "h1", &host, &["-o", &fingerprint]).ok();
    adopt(&world, "h2", &host, &["-o", &public]).ok();
    let ran = adopt(
        &world,
        "h3",
        &host,
        &["-o", &format!("host-key={stranger}")],
    )
    .code(1);
    assert_data_eq!(
        ran.told().replace(&host.fingerprint(), "FINGERPRINT"),
        str![[r#"
exit 1
TIME h3: Creating the machine
TIME h3: 127.0.0.1 is root@127.0.0.1 port PORT
berth: machine h3: [127.0.0.1]:PORT has no host key SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA: it offers ssh-ed25519 FINGERPRINT
hint: nothing was sent there; find out who answers, or say the right fingerprint with -o host-key=SHA256:…

"#]]
    );

    // The user's known_hosts counts: one that has the key need not be asked, another key is refused.
    let known = world.path("known");
    user_config(&world, &format!("UserKnownHostsFile {}\n", known.display()));
    fs::write(
        &known,
        format!("[127.0.0.1]:{} {}\n", host.port, host.public_key()),
    )
    .unwrap();
    let hashed = Command::new("ssh-keygen")
        .arg("-Hf")
        .arg(&known)
        .output()
        .unwrap();
    assert!(hashed.status.success());
    let ran = adopt(&world, "h4", &host, &[]).ok();
    assert!(!ran.stderr.contains("shows the host key"), "{ran:?}");
    let other = fs::read_to_string(host.path("user_key.pub")).unwrap();
    fs::write(&known, format!("[127.0.0.1]:{} {other}", host.port)).unwrap();
    adopt(&world, "h5", &host, &[])
        .code(1)
        .says("does not have the host key recorded");
    world.berth(&["rm", "-y", "--all"]).ok();
}
