//! A machine of a user's own libvirt is suspended while libvirt is started anew, goes on, and is kept and restored.

use std::net::TcpListener;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::end_daemon;
use crate::session::Session;
use crate::vm::{ANSWER, BOOT, eventually};

/// The clock of a guest may be so wrong, with the time that the question takes under emulation (s).
const WRONG: u64 = 5;

/// Goes on with the machine `web`, which runs and has the image `bbox`.
pub fn goes_on(session: &Session) {
    let user = |line: &str| session.user(line);
    user(
        "docker --context web run --detach --name count bbox \
         sh -c 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.5; done'",
    )
    .deadline(ANSWER)
    .ok();
    user("$BERTH ssh web -- 'echo kept >/root/note; echo kept >/run/note; sync'").ok();
    user("$BERTH snapshot create web s").deadline(ANSWER).ok();
    user("$BERTH ssh web -- rm /root/note /run/note").ok();
    user("$BERTH resize web --memory 2G")
        .exits(4)
        .says("has snapshots of its size: s");
    let rows = user("$BERTH snapshot ls web --json").text();
    let rows: Value = serde_json::from_str(&rows).unwrap();
    assert_eq!(rows[0]["name"], "s", "{rows}");
    assert!(rows[0]["memory"].as_u64().is_some(), "{rows}");

    let listed = || -> Value {
        let rows = user("$BERTH ls --json --timeout 60").ok().stdout;
        let rows: Value = serde_json::from_str(&rows).unwrap();
        rows[0].clone()
    };
    let port = listed()["ssh"]["port"].as_u64().unwrap() as u16;
    let before = counted(session);
    user("$BERTH suspend web").deadline(ANSWER).ok();
    user("$BERTH snapshot create web t")
        .exits(4)
        .says("suspended");
    end_daemon(&session.run_folder().join("libvirtd.pid"));
    session.start_daemon();
    assert_eq!(listed()["state"], "suspended");
    let stranger = TcpListener::bind(("127.0.0.1", port)).unwrap();
    // So that a clock that stood still would be seen.
    std::thread::sleep(Duration::from_secs(WRONG + 1));
    let resumed = user("$BERTH resume web --timings")
        .deadline(BOOT)
        .ok()
        .says(&format!("another program listens on port {port}"));
    println!("{}", resumed.stderr);
    assert!(counted(session) >= before);
    clock_is_right(session);

    // It was taken when the machine had the port that is the stranger's now.
    user("$BERTH snapshot restore web s").deadline(BOOT).ok();
    let notes = user("$BERTH ssh web -- cat /root/note /run/note").text();
    assert_eq!(notes, "kept\nkept");
    clock_is_right(session);
    user("$BERTH snapshot rm web s").deadline(ANSWER).ok();
    assert_eq!(user("$BERTH snapshot ls web --json").text(), "[]");
    drop(stranger);
}

/// The last number that the container has counted to, once there is one.
fn counted(session: &Session) -> u64 {
    eventually("the container counts", ANSWER, || {
        let logs = session.user("docker --context web logs --tail 1 count");
        logs.run().stdout.trim().parse().ok()
    })
}

fn clock_is_right(session: &Session) {
    let told: u64 = session
        .user("$BERTH ssh web -- date +%s")
        .text()
        .parse()
        .unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let wrong = now.as_secs().abs_diff(told);
    assert!(wrong <= WRONG, "the guest's clock is {wrong} s off");
}
