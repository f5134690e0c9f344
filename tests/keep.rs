//! `berth exec --keep`: connections that later commands find open.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use snapbox::{assert_data_eq, str};
use support::host::Host;
use support::{Ran, World, eventually};

/// Tells the port at this end of the connection by which a command came.
const PORT: &str = "set -- $SSH_CONNECTION; echo $2";

fn world(names: &[&str]) -> World {
    let world = World::new();
    world.create(names).ok();
    world
}

/// A host of its own, adopted.
fn adopted(world: &World) -> Host {
    let host = Host::start(world, "h1", "");
    let options = host.options();
    let mut args = vec!["create", "--engine", "none", "h1"];
    args.extend(options.iter().map(String::as_str));
    world.berth(&args).ok();
    host
}

/// The port by which a machine is reached, with more arguments.
fn port(world: &World, more: &[&str]) -> String {
    let ran = world.berth(&[&["exec"], more, &["--", PORT]].concat()).ok();
    ran.lines().last().unwrap().to_string()
}

/// The process that keeps connections.
fn keeper(world: &World) -> Pid {
    let lock = fs::read_to_string(world.data().join("kept/lock")).unwrap();
    Pid::from_raw(lock.split(' ').next().unwrap().parse().unwrap())
}

fn lives(pid: Pid) -> bool {
    support::leftovers::lives(pid.as_raw())
}

/// Ends what is kept.
fn end(world: &World) {
    let pid = keeper(world);
    world.berth(&["exec", "--keep", "0"]).ok();
    eventually("it ends", || !lives(pid));
    assert!(!world.data().join("kept/ssh.sock").exists());
}

#[test]
fn later_commands_go_over_the_connections_of_earlier_ones() {
    let world = world(&["m1", "m2"]);
    let first = port(&world, &["m1"]);
    assert_ne!(port(&world, &["m1"]), first, "nothing is kept unasked");
    assert!(!world.data().join("kept").exists());

    let kept = port(&world, &["m1", "--keep", "5m"]);
    assert_eq!(port(&world, &["m1"]), kept);
    assert_eq!(port(&world, &["m1", "--stream"]), format!("m1: {kept}"));
    world
        .berth(&["exec", "--all", "--keep", "5m", "--", "true"])
        .ok();
    assert_eq!(port(&world, &["m1", "--keep", "5m"]), kept);

    // Files take the same way.
    let logins = || {
        let log = fs::read_to_string(world.file("m1", "vm/console.log")).unwrap();
        log.matches("Accepted publickey").count()
    };
    let before = logins();
    fs::write(world.path("note"), "kept").unwrap();
    let there = world.path("there");
    fs::create_dir(&there).unwrap();
    let remote = format!("m*:{}", there.display());
    world.berth(&["cp", "note", &remote]).ok();
    let remote = format!("{remote}/note");
    world.berth(&["cp", &remote, "back"]).ok();
    assert_eq!(fs::read(world.path("back/m1/note")).unwrap(), b"kept");
    assert_eq!(logins(), before);
    assert!(before > 0);

    // Only this user gets at it, and nobody sees in the list of processes what it is told.
    let socket = world.data().join("kept/ssh.sock");
    assert_eq!(
        fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let folder = fs::metadata(world.data().join("kept")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    let pid = keeper(&world);
    let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(words.ends_with("berth\0keep-connections\0"), "{words:?}");

    end(&world);
    // Told again, there is nothing to do.
    world.berth(&["exec", "--keep", "0"]).ok();
    assert_ne!(port(&world, &["m1"]), kept);
}

#[test]
fn words_input_output_and_exit_codes_are_the_same() {
    let world = world(&["m1", "m2"]);
    let input: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
    let script = "case $HOME in */m2/*) head -c 10; exit 7;; esac; sha256sum; echo careful >&2";
    let lines: [&[&str]; 4] = [
        &["exec", "--all", "-i", "--", script],
        &[
            "exec",
            "--all",
            "-e",
            "A=b c",
            "--cd",
            "/usr",
            "--",
            "sh",
            "-c",
            "pwd; echo $A",
        ],
        // More than pipes, windows and frames hold, both ways.
        &["exec", "m1", "-i", "--", "cat; kill -9 $$"],
        &["exec", "m1", "-i", "--", "exec true"],
    ];
    let all = || lines.map(|line| world.berth_reading(line, &input));
    let plain = all();
    world
        .berth(&["exec", "--all", "--keep", "5m", "--", "true"])
        .ok();
    for (line, (plain, kept)) in lines.iter().zip(plain.iter().zip(all())) {
        assert_eq!(kept.status, plain.status, "{line:?}");
        assert!(kept.stdout == plain.stdout, "{line:?}");
        let words = |output: &[u8]| {
            let text = String::from_utf8_lossy(output).into_owned();
            text.rsplit_once(" (").unwrap().0.to_owned()
        };
        assert_eq!(words(&kept.stderr), words(&plain.stderr), "{line:?}");
    }
    assert_eq!(
        plain[2].stdout.len(),
        "== m1 (1), exit 137 ==\n".len() + input.len() + 1
    );
    end(&world);
}

#[test]
fn machines_that_died_hang_or_changed_are_dialled_anew() {
    let world = world(&["m1"]);
    let host = adopted(&world);
    let first = port(&world, &["m1", "--keep", "5m"]);
    world.berth(&["kill", "m1"]).ok();
    let ran = world.berth(&["exec", "m1", "--", "true"]).code(5);
    ran.says("machine m1 is stopped");
    world.berth(&["start", "m1"]).ok();
    assert_ne!(port(&world, &["m1"]), first);

    // Cut off without a word: the connection stands and nothing comes over it.
    let first = port(&world, &["h1"]);
    let server = server_of(&world, "h1");
    kill(server, Signal::SIGSTOP).unwrap();
    let begun = Instant::now();
    let second = port(&world, &["h1"]);
    assert_ne!(second, first);
    assert!(begun.elapsed() < Duration::from_secs(20));
    kill(server, Signal::SIGCONT).unwrap();
    assert_eq!(port(&world, &["h1"]), second);

    // Another host key is to be accepted from now on: whoever has shown the old one is not asked any more.
    let file = world.file("h1", "known_hosts");
    let known = fs::read_to_string(&file).unwrap();
    let (head, tail) = known.trim().split_at(known.trim().len() - 4);
    let other = if tail == "AAAA" { "BBBB" } else { "AAAA" };
    fs::write(&file, format!("{head}{other}\n")).unwrap();
    let ran = world.berth(&["exec", "h1", "--", "true"]).code(5);
    ran.says("does not have the host key recorded")
        .says("berth host-key h1");
    fs::write(&file, known).unwrap();
    assert_eq!(port(&world, &["h1"]), second);

    // Nobody is there any more.
    drop(host);
    kill(server_of(&world, "h1"), Signal::SIGKILL).unwrap();
    let args = ["exec", "h1", "--timeout", "2", "--", "true"];
    world.berth(&args).code(5).says("not done within 2 s");
    end(&world);
}

/// The process at the other end of a machine's connection.
fn server_of(world: &World, name: &str) -> Pid {
    let ran = world.berth(&["exec", name, "--", "echo $PPID"]).ok();
    Pid::from_raw(ran.lines().last().unwrap().parse().unwrap())
}

#[test]
fn what_is_cut_off_or_killed_leaves_nothing_behind() {
    let world = world(&["m1"]);
    let first = port(&world, &["m1", "--keep", "5m"]);
    // A command that writes nothing and reads nothing, with more input than is taken.
    let input = vec![b'x'; 8 << 20];
    let script = "echo $$ >$HOME/shell; exec sleep 300";
    let args = ["exec", "m1", "-i", "--timeout", "2", "--", script];
    let ran = world.berth_reading(&args, &input);
    assert_eq!(ran.status.code(), Some(5));
    // It may go on, as without a connection that is kept.
    let shell = fs::read_to_string(world.file("m1", "vm/shell")).unwrap();
    let _ = kill(
        Pid::from_raw(shell.trim().parse().unwrap()),
        Signal::SIGKILL,
    );
    assert_ne!(
        port(&world, &["m1"]),
        first,
        "nobody knows what still runs on it"
    );

    // The keeper dies under a command.
    let wait =
        "echo $$ >$HOME/waiter; touch $HOME/begun; until [ -e $HOME/go ]; do sleep 0.05; done";
    let running = world.background(&["exec", "m1", "--", wait]);
    eventually("it is begun", || world.file("m1", "vm/begun").exists());
    kill(keeper(&world), Signal::SIGKILL).unwrap();
    let ran: Ran = world.wait(running).code(5);
    ran.says("the process that kept the connection ended");
    // Others go their own way, and a new one is started where that is asked for.
    world.berth(&["exec", "m1", "--", "true"]).ok();
    let kept = port(&world, &["m1", "--keep", "5m"]);
    assert_eq!(port(&world, &["m1"]), kept);
    fs::write(world.file("m1", "vm/go"), "").unwrap();
    let pid = fs::read_to_string(world.file("m1", "vm/waiter")).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap());
    eventually("the command that lost its keeper ends", || !lives(pid));
    end(&world);
}

#[test]
fn it_ends_by_itself_and_waits_for_what_runs() {
    let world = world(&["m1"]);
    let wait = "touch $HOME/begun; until [ -e $HOME/go ]; do sleep 0.05; done; echo done";
    let running = world.background(&["exec", "m1", "--keep", "1s", "--", wait]);
    eventually("it is begun", || world.file("m1", "vm/begun").exists());
    let pid = keeper(&world);
    std::thread::sleep(Duration::from_secs(2));
    assert!(lives(pid), "something runs");
    // Told to end, it is there until the command is done, and nobody finds it any more.
    world.berth(&["exec", "--keep", "0"]).ok();
    eventually("its socket goes", || {
        !world.data().join("kept/ssh.sock").exists()
    });
    assert!(lives(pid));
    fs::write(world.file("m1", "vm/go"), "").unwrap();
    let ran = world.wait(running).ok();
    assert!(ran.stdout.ends_with("done\n"), "{ran:?}");
    eventually("it ends", || !lives(pid));

    world
        .berth(&["exec", "m1", "--keep", "1s", "--", "true"])
        .ok();
    let pid = keeper(&world);
    eventually("it ends by itself", || !lives(pid));
    assert!(!world.data().join("kept/ssh.sock").exists());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let world = world(&["m1"]);
    let lines: [&[&str]; 5] = [
        &["exec", "m1", "--keep", "5m"],
        &["exec", "--keep", "5m", "--", "true"],
        &["exec", "m1", "--keep", "forever", "--", "true"],
        &["exec", "m1", "--keep", "169h", "--", "true"],
        &["exec", "m1", "--keep", "0"],
    ];
    let mut told = String::new();
    for line in lines {
        let ran = world.berth(line).code(2);
        told += &format!("$ berth {}\n{}\n", line.join(" "), ran.told());
    }
    assert_data_eq!(
        told,
        str![[r#"
$ berth exec m1 --keep 5m
exit 2
berth: say the command: `berth exec … -- CMD`

$ berth exec --keep 5m -- true
exit 2
berth: name a machine, select some with -l, --driver or --state, or say --all

$ berth exec m1 --keep forever -- true
exit 2
error: invalid value 'forever' for '--keep <TIME>': write a time such as 30s, 5m or 1h; a week at most

For more information, try '--help'.

$ berth exec m1 --keep 169h -- true
exit 2
error: invalid value '169h' for '--keep <TIME>': write a time such as 30s, 5m or 1h; a week at most

For more information, try '--help'.

$ berth exec m1 --keep 0
exit 2
berth: say the command: `berth exec … -- CMD`


"#]]
    );
    assert!(!world.data().join("kept").exists());
    // What is no frame is hung up on, and does no harm.
    let kept = port(&world, &["m1", "--keep", "5m"]);
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0, 0xff, 0xff, 0xff, 0xff],
        &[0, 0, 0, 0, 2, b'{', b'}'],
        &[5, 0, 0, 0, 0],
    ] {
        use std::io::{Read, Write};
        let mut stream =
            std::os::unix::net::UnixStream::connect(world.data().join("kept/ssh.sock")).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{answer:?}");
    }
    assert_eq!(port(&world, &["m1"]), kept);
    end(&world);
}
