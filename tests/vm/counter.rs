//! A container that counts: whether it ran all the while can be read off it.

use std::sync::Mutex;

use super::Host;

/// The last number that was counted.
static COUNTED: Mutex<u64> = Mutex::new(0);

/// Runs it by the current context, of the image `bbox`, with more arguments for `docker run`.
pub fn begin_counting(host: &Host, arguments: &str) {
    *COUNTED.lock().unwrap() = 0;
    host.docker(&format!(
        "run --detach --name counter {arguments} bbox sh -c"
    ))
    .arg("i=0; while :; do i=$((i+1)); echo $i; sleep 1; done")
    .ok();
}

/// The container runs, is the one it was, and has counted on.
#[track_caller]
pub fn still_counts(host: &Host) {
    let last = host.docker("logs --tail 1 counter").text();
    let last: u64 = last.trim().parse().unwrap();
    let mut counted = COUNTED.lock().unwrap();
    assert!(last > *counted, "{last} after {counted}");
    let restarts = "inspect --format {{.RestartCount}}:{{.State.Running}} counter";
    assert_eq!(host.docker(restarts).text(), "0:true");
    let all = host.docker("logs counter").text();
    let lines = all.lines().count() as u64;
    assert!(all.lines().zip(1..).all(|(line, n)| line == n.to_string()) && lines >= last);
    *counted = last;
}
