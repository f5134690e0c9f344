//! Connections that are more than a question and its answer.

use crate::vm::{Host, Terminal};

pub fn exec_on_a_terminal(host: &Host) {
    host.docker("run --detach --name shell bbox sleep 100000")
        .ok();
    let out = host
        .terminal("docker exec -it shell sh -c 'tty; stty size; test -t 0 && test -t 1 && echo a terminal; exit 5'")
        .exits(5);
    assert!(out.stdout.contains("/dev/pts/"), "{out:?}");
    assert!(out.stdout.contains("33 91"), "{out:?}");
    assert!(out.stdout.contains("a terminal"), "{out:?}");
    // Keys reach the shell in there, its echo and prompt come back, and ^C interrupts what runs and not the client.
    let mut terminal = Terminal::open(host.terminal("docker exec -it shell sh"));
    terminal.types("echo one$((1+1))\n");
    terminal.sees("one2");
    terminal.types("echo two$((1+2)); sleep 100000\n");
    terminal.sees("two3");
    terminal.types("\x03");
    terminal.types("echo after$((1+3))\n");
    terminal.sees("after4");
    terminal.types("exit 6\n");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(6), "{shown}");
    host.docker("rm --force shell").ok();
}

pub fn half_close(host: &Host) {
    let out = host
        .docker("run --interactive --rm bbox cat")
        .stdin("hi\n")
        .ok();
    assert_eq!(out.stdout, "hi\n");
    // More than any buffer on the way, and the answer only after the end of the input.
    let many: Vec<u8> = (0..4_000_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    std::fs::write(host.scratch().join("many"), &many).unwrap();
    let here = host.shell("sha256sum < many").text();
    let there = host
        .docker("run --interactive --rm bbox sha256sum")
        .stdin(many)
        .text();
    assert_eq!(there, here);
    let both = host
        .docker("run --rm bbox sh -c")
        .arg("echo to stdout; echo to stderr >&2; exit 3")
        .exits(3);
    assert_eq!(
        (both.stdout.as_str(), both.stderr.as_str()),
        ("to stdout\n", "to stderr\n")
    );
}

pub fn attach(host: &Host) {
    // Created with stdin attached, so that the end of the first client's input is the end of the container's.
    host.docker("create --interactive --name reader bbox sh -c")
        .arg("while read line; do echo got $line; done; echo end")
        .ok();
    host.docker("start reader").ok();
    let out = host.docker("attach reader").stdin("a\nb\n").ok();
    assert_eq!(out.stdout, "got a\ngot b\nend\n");
    host.docker("rm --force reader").ok();
}

pub fn twenty_at_once(host: &Host) {
    let children: Vec<_> = (0..20)
        .map(|_| host.docker("version --format {{.Server.Os}}").spawn())
        .collect();
    for child in children {
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{out:?}");
        assert_eq!(out.stdout, b"linux\n");
    }
}
