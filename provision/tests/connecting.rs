//! Who is let in, who is refused, and how long that takes.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use berth_provision::Error;
use berth_provision::ssh::{Key, Session, fingerprint, generate_key, learn_host_key};
use common::{SOON, Sshd, secret};

#[tokio::test]
async fn a_wrong_host_key_is_refused_at_once() {
    let sshd = Sshd::start();
    sshd.session().await;
    let other = generate_key("other").unwrap();
    fs::write(
        sshd.path("known_hosts"),
        sshd.known_hosts_line(&other.public_openssh),
    )
    .unwrap();
    let started = Instant::now();
    let error = Session::connect(&sshd.target(), SOON).await.unwrap_err();
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    let Error::HostKeyMismatch { offered, .. } = error else {
        panic!("{error}");
    };
    assert!(offered.contains(&fingerprint(&sshd.host_key.public_openssh).unwrap()));
}

#[tokio::test]
async fn a_host_key_of_another_type_is_refused_at_once() {
    let sshd = Sshd::start();
    sshd.session().await;
    let key = sshd.path("ecdsa");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ecdsa", "-N", "", "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    fs::write(
        sshd.path("known_hosts"),
        sshd.known_hosts_line(public.trim()),
    )
    .unwrap();
    let started = Instant::now();
    let error = Session::connect(&sshd.target(), SOON).await.unwrap_err();
    assert!(matches!(error, Error::HostKeyMismatch { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn nothing_recorded_means_nothing_trusted() {
    let sshd = Sshd::start();
    fs::write(sshd.path("known_hosts"), "elsewhere ssh-ed25519 AAAA\n").unwrap();
    let error = Session::connect(&sshd.target(), SOON).await.unwrap_err();
    assert!(matches!(error, Error::HostKeyUnknown { .. }), "{error}");
    fs::remove_file(sshd.path("known_hosts")).unwrap();
    let error = Session::connect(&sshd.target(), SOON).await.unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[tokio::test]
async fn an_alias_is_what_known_hosts_records() {
    let sshd = Sshd::start();
    let line = format!("m1 {}\n", sshd.host_key.public_openssh);
    fs::write(sshd.path("known_hosts"), line).unwrap();
    let mut target = sshd.target();
    target.host_key_alias = Some("m1".into());
    Session::connect(&target, SOON).await.unwrap();
}

#[tokio::test]
async fn an_unknown_key_is_rejected_at_once() {
    let sshd = Sshd::start();
    sshd.session().await;
    secret(
        &sshd.path("user_key"),
        &generate_key("stranger").unwrap().private_openssh,
    );
    let started = Instant::now();
    let error = Session::connect(&sshd.target(), SOON).await.unwrap_err();
    assert!(matches!(error, Error::KeyRejected { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_rsa_key_lets_in_and_an_encrypted_one_says_so() {
    let sshd = Sshd::start();
    let key = sshd.path("rsa");
    let keygen = |arguments: &[&str]| {
        let done = Command::new("ssh-keygen")
            .args(arguments)
            .arg("-f")
            .arg(&key)
            .status();
        assert!(done.unwrap().success());
    };
    keygen(&["-q", "-t", "rsa", "-b", "2048", "-N", ""]);
    fs::copy(key.with_extension("pub"), sshd.path("authorized_keys")).unwrap();
    let mut target = sshd.target();
    target.key = Key::File(key.clone());
    Session::connect(&target, SOON).await.unwrap();
    keygen(&["-q", "-p", "-N", "secret"]);
    let error = Session::connect(&target, SOON).await.unwrap_err();
    assert!(error.to_string().contains("passphrase"), "{error}");
}

#[tokio::test]
async fn a_machine_that_comes_late_is_waited_for() {
    let mut early = Sshd::start();
    early.stop();
    let target = early.target();
    let connecting = tokio::spawn(async move { Session::connect(&target, SOON).await });
    tokio::time::sleep(Duration::from_millis(700)).await;
    let log = fs::File::create(early.path("log")).unwrap();
    let mut late = Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-f"])
        .arg(early.path("sshd_config"))
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let outcome = connecting.await.unwrap();
    late.kill().unwrap();
    late.wait().unwrap();
    outcome.unwrap();
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sshd = Sshd::start();
    let mut target = sshd.target();
    target.host_key_alias = Some(target.recorded_name());
    target.port = silent.local_addr().unwrap().port();
    let started = Instant::now();
    let error = Session::connect(&target, Duration::from_secs(2))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(4));
}

/// As passt's in Debian 12, which lets a guest's first word through once there was one for the guest.
#[tokio::test]
async fn a_way_that_waits_for_our_greeting_is_passed() {
    let sshd = Sshd::start();
    sshd.session().await;
    let way = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut target = sshd.target();
    target.host_key_alias = Some(target.recorded_name());
    let server = target.port;
    target.port = way.local_addr().unwrap().port();
    let carrying = tokio::spawn(async move {
        let (mut client, _) = way.accept().await.unwrap();
        client.peek(&mut [0]).await.unwrap();
        let mut server = tokio::net::TcpStream::connect(("127.0.0.1", server))
            .await
            .unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    Session::connect(&target, SOON).await.unwrap();
    carrying.abort();
}

#[tokio::test]
async fn a_server_of_garbage_ends_at_the_deadline() {
    let hostile = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sshd = Sshd::start();
    let mut target = sshd.target();
    target.host_key_alias = Some(target.recorded_name());
    target.port = hostile.local_addr().unwrap().port();
    let flood = tokio::spawn(async move {
        loop {
            let (mut stream, _) = hostile.accept().await.unwrap();
            tokio::spawn(async move {
                let noise = vec![b'x'; 65536];
                while tokio::io::AsyncWriteExt::write_all(&mut stream, &noise)
                    .await
                    .is_ok()
                {}
            });
        }
    });
    let error = Session::connect(&target, Duration::from_secs(2))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    flood.abort();
}

#[tokio::test]
async fn a_host_key_is_learned_without_logging_in() {
    let sshd = Sshd::start();
    sshd.session().await;
    let key = learn_host_key("127.0.0.1", sshd.port, &[], SOON)
        .await
        .unwrap();
    assert_eq!(key.algorithm, "ssh-ed25519");
    assert_eq!(
        key.fingerprint,
        fingerprint(&sshd.host_key.public_openssh).unwrap()
    );
    fs::write(
        sshd.path("known_hosts"),
        key.known_hosts_line("127.0.0.1", sshd.port),
    )
    .unwrap();
    sshd.session().await;
    let nobody = common::free_port();
    let error = learn_host_key("127.0.0.1", nobody, &[], SOON)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

/// Runs `with_the_agent` in a process whose environment names an agent of our own.
#[tokio::test]
async fn the_agent_lets_in() {
    let sshd = Sshd::start();
    sshd.session().await;
    let socket = sshd.path("agent");
    let mut agent = Command::new("ssh-agent")
        .arg("-D")
        .arg("-a")
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !socket.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let add = |key: &str| {
        let added = Command::new("ssh-add")
            .arg("-q")
            .arg(sshd.path(key))
            .env("SSH_AUTH_SOCK", &socket)
            .status();
        assert!(added.unwrap().success());
    };
    let run = |expected: &str| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "with_the_agent", "--nocapture"])
            .env("SSH_AUTH_SOCK", &socket)
            .env("BERTH_TEST_PORT", sshd.port.to_string())
            .env("BERTH_TEST_FOLDER", sshd.folder.path())
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            words.contains(expected),
            "{words}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    run("it holds no keys");
    secret(
        &sshd.path("stranger"),
        &generate_key("stranger").unwrap().private_openssh,
    );
    add("stranger");
    run("any of the 1 keys");
    add("user_key");
    run("let in");
    agent.kill().unwrap();
    agent.wait().unwrap();
    run("the SSH agent cannot be used");
}

#[tokio::test]
#[ignore = "run by the_agent_lets_in"]
async fn with_the_agent() {
    let folder = std::path::PathBuf::from(std::env::var_os("BERTH_TEST_FOLDER").unwrap());
    let target = berth_provision::ssh::Target {
        host: "127.0.0.1".into(),
        port: std::env::var("BERTH_TEST_PORT").unwrap().parse().unwrap(),
        user: common::whoami(),
        key: Key::Agent,
        known_hosts: folder.join("known_hosts"),
        host_key_alias: None,
        jump: Vec::new(),
    };
    match Session::connect(&target, SOON).await {
        Ok(_) => println!("let in"),
        Err(error) => println!("{error}"),
    }
}
