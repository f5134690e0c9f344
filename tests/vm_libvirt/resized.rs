//! A machine of a user's own libvirt gets more memory and a larger disk while it runs.

use serde_json::Value;

use crate::session::Session;
use crate::vm::ANSWER;

/// What it is made with, so that it can be given more.
pub const ROOM: &str = "--memory 1G -o max-memory=2G";

/// Goes on with the machine `web`, which runs and was made with [`ROOM`].
pub fn grows(session: &Session) {
    let user = |line: &str| session.user(line);
    let boot_id = user("$BERTH ssh web -- cat /proc/sys/kernel/random/boot_id").text();
    let rows: Value = serde_json::from_str(&user("$BERTH ls --json").ok().stdout).unwrap();
    let disk = rows[0]["disk"].as_u64().unwrap() + (1 << 30);
    let before = root(session);
    let resized = user(&format!(
        "$BERTH resize web --disk {disk} --memory 1536M --cpus 2"
    ))
    .deadline(ANSWER)
    .ok()
    .says("has its new CPUs after `berth restart web`");
    assert!(!resized.stderr.contains("memory and"), "{}", resized.stderr);
    assert!(root(session) > before + (900 << 20));
    assert!(memory(session) > 1300 << 20);
    let after = user("$BERTH ssh web -- cat /proc/sys/kernel/random/boot_id").text();
    assert_eq!(after, boot_id);
    user("$BERTH resize web --disk 1G")
        .exits(2)
        .says("disks only grow");
    user("docker --context web run --rm bbox echo hello")
        .deadline(ANSWER)
        .ok();
}

/// What it was given while it ran it has again when it has been off.
pub fn has_it_still(session: &Session) {
    assert!(memory(session) > 1300 << 20);
    assert_eq!(session.user("$BERTH ssh web -- nproc").text(), "2");
}

/// The size of the root file system.
fn root(session: &Session) -> u64 {
    let told = session.user("$BERTH ssh web -- df -B1 --output=size / | tail -1");
    told.text().trim().parse().unwrap()
}

/// What the guest's kernel can use.
fn memory(session: &Session) -> u64 {
    let told = session.user("$BERTH ssh web -- grep MemTotal /proc/meminfo");
    let text = told.text();
    let kib = text.split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() << 10
}
