//! Reaching in: ssh, its configuration, logs.

use std::time::Duration;

use crate::vm::Host;

pub fn ssh(host: &Host) {
    host.berth("ssh berth -- sh -c").arg("exit 7").exits(7);
    let out = host
        .inside("berth", "cat; echo to stderr >&2")
        .stdin("through\0and through\n")
        .ok();
    assert_eq!(out.stdout, "through\0and through\n");
    assert_eq!(out.stderr, "to stderr\n");
    // Words arrive as they are.
    let words = host
        .berth("ssh berth -- printf %s|")
        .args(["a b", "$HOME", "'", ""])
        .ok();
    assert_eq!(words.stdout, "a b|$HOME|'||");
    host.inside("berth", "test -t 0").exits(1);
}

pub fn ssh_on_a_terminal(host: &Host) {
    let out = host
        .terminal("$BERTH ssh berth")
        .stdin("tty; stty size; hostname; exit 9\n")
        .exits(9);
    assert!(out.stdout.contains("/dev/pts/"), "{out:?}");
    assert!(out.stdout.contains("33 91"), "{out:?}");
    assert!(out.stdout.contains("berth"), "{out:?}");
}

pub fn ssh_config(host: &Host) {
    host.berth("ssh-config --install").ok();
    host.berth("ssh-config --install").ok().says("already");
    let config = std::fs::read_to_string(host.home().join(".ssh/config")).unwrap();
    assert_eq!(config.matches("Include").count(), 1, "{config}");
    // ssh takes the home folder from the user's account, not from $HOME.
    let out = host
        .shell("ssh -F $HOME/.ssh/config berth.berth hostname")
        .ok();
    assert_eq!(out.stdout, "berth\n");
    let scp = "echo by scp > f; scp -q -F $HOME/.ssh/config f berth.berth:/root/f";
    host.shell(scp).ok();
    assert_eq!(host.inside("berth", "cat /root/f").text(), "by scp");
    // A machine that shows another host key is not let by.
    let known = host.machine("berth").join("known_hosts");
    let right = std::fs::read_to_string(&known).unwrap();
    let key = host
        .shell("ssh-keygen -q -t ed25519 -N '' -f other; cut -d' ' -f1,2 other.pub")
        .text();
    std::fs::write(&known, format!("berth.berth {key}\n")).unwrap();
    host.inside("berth", "true")
        .exits(255)
        .says("Host key verification failed");
    std::fs::write(&known, right).unwrap();
    host.inside("berth", "true").ok();
}

pub fn logs(host: &Host) {
    host.inside("berth", "echo a word on the console > /dev/console")
        .ok();
    let log = host.berth("logs berth").ok().stdout;
    assert!(log.contains("a word on the console"), "{log}");
    // --follow goes on printing: it ends by the deadline only, with the new word printed.
    let child = host
        .berth("logs --follow berth")
        .deadline(Duration::from_secs(15))
        .spawn();
    std::thread::sleep(Duration::from_secs(2));
    host.inside("berth", "echo another word > /dev/console")
        .ok();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(124));
    assert!(String::from_utf8_lossy(&out.stdout).contains("another word"));
    let supervisor = host.berth("logs --supervisor berth").ok().stdout;
    assert!(supervisor.contains("connected"), "{supervisor}");
}

pub fn up_again(host: &Host) {
    host.berth("use -").ok();
    assert_eq!(host.docker("context show").text(), "default");
    let up = host.berth("up").ok();
    assert!(up.took < Duration::from_secs(60), "{:?}", up.took);
    assert_eq!(host.docker("context show").text(), "berth");
}
