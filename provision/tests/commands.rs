//! Commands, files and streams over one connection.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use berth_provision::Error;
use berth_provision::ssh::quote;
use common::Sshd;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

#[tokio::test]
async fn status_and_streams_come_apart() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let output = session
        .exec("echo out; echo err >&2; exit 7")
        .await
        .unwrap();
    assert_eq!(
        (output.status, output.stdout, output.stderr),
        (7, b"out\n".to_vec(), b"err\n".to_vec())
    );
    assert!(session.exec("true").await.unwrap().success());
    assert_eq!(session.exec("kill -9 $$").await.unwrap().status, 137);
    assert_eq!(session.exec("kill -TERM $$").await.unwrap().status, 143);
    assert_eq!(session.exec("no-such-command").await.unwrap().status, 127);
    let output = session.exec_input("cat; echo end", b"in\n").await.unwrap();
    assert_eq!(output.stdout, b"in\nend\n");
    let odd = "a 'b' $c\n\"d\"";
    let output = session
        .exec(&format!("printf %s {}", quote(odd)))
        .await
        .unwrap();
    assert_eq!(output.stdout, odd.as_bytes());
}

#[tokio::test]
async fn input_that_nobody_reads_does_not_hang() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let output = session
        .exec_input("exit 3", &vec![0; 20_000_000])
        .await
        .unwrap();
    assert_eq!(output.status, 3);
}

#[tokio::test]
async fn endless_output_is_cut_off_and_the_session_lives_on() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let error = session.exec("yes").await.unwrap_err();
    assert!(matches!(error, Error::TooMuchOutput { .. }), "{error}");
    let error = session.exec("yes >&2").await.unwrap_err();
    assert!(matches!(error, Error::TooMuchOutput { .. }), "{error}");
    assert!(session.exec("true").await.unwrap().success());
}

#[tokio::test]
async fn a_hundred_megabytes_go_and_come_back_unchanged() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 100;
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let (mut feed, stdin) = tokio::io::duplex(PIECE);
    let (stdout, mut back) = tokio::io::duplex(PIECE);
    let feeding = tokio::spawn(async move {
        let mut hash = Sha256::new();
        for number in 0..PIECES {
            let piece: Vec<u8> = (0..PIECE).map(|n| (n * 31 + number) as u8).collect();
            hash.update(&piece);
            feed.write_all(&piece).await.unwrap();
        }
        hash.finalize()
    });
    let reading = tokio::spawn(async move {
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE];
        while let count @ 1.. = back.read(&mut piece).await.unwrap() {
            hash.update(&piece[..count]);
        }
        hash.finalize()
    });
    let started = Instant::now();
    let status = session
        .exec_streams("cat", stdin, stdout, tokio::io::sink())
        .await
        .unwrap();
    eprintln!("100 MiB there and back in {:?}", started.elapsed());
    assert_eq!(status, 0);
    assert_eq!(feeding.await.unwrap(), reading.await.unwrap());
}

#[tokio::test]
async fn more_commands_at_once_than_the_server_opens_sessions() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let running: Vec<_> = (0..40)
        .map(|number| {
            let session = session.clone();
            tokio::spawn(async move { session.exec(&format!("sleep 0.1; echo {number}")).await })
        })
        .collect();
    for (number, run) in running.into_iter().enumerate() {
        assert_eq!(
            run.await.unwrap().unwrap().stdout,
            format!("{number}\n").into_bytes()
        );
    }
}

#[tokio::test]
async fn a_dropped_command_loses_its_pipes() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let gone = sshd.path("gone");
    let script = format!("cat; echo done >{}", quote(gone.to_str().unwrap()));
    let (_open, stdin) = tokio::io::duplex(1);
    let running = session.exec_streams(&script, stdin, tokio::io::sink(), tokio::io::sink());
    assert!(
        tokio::time::timeout(Duration::from_millis(500), running)
            .await
            .is_err()
    );
    tokio::time::timeout(common::SOON, async {
        while !gone.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn files_appear_whole_and_with_their_mode() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let path = sshd.path("it's a file");
    let name = path.to_str().unwrap();
    session.write_file(name, b"one", 0o640).await.unwrap();
    session.write_file(name, b"two\0\n", 0o600).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"two\0\n");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let left: Vec<_> = std::fs::read_dir(sshd.folder.path())
        .unwrap()
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .contains("berth.")
        })
        .collect();
    assert!(left.is_empty());
    let error = session
        .write_file("/nowhere/file", b"", 0o600)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Command { .. }), "{error}");

    let sftp = session.sftp().await.unwrap();
    assert_eq!(sftp.read(name).await.unwrap(), b"two\0\n");
}

#[tokio::test]
async fn a_lost_connection_is_noticed() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    assert!(!session.is_closed());
    let waiting = session.clone();
    let closed = tokio::spawn(async move { waiting.closed().await });
    // The shell's parent is the server's process for this connection.
    let error = session.exec("kill -9 $PPID; sleep 5").await.unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error}");
    let words = tokio::time::timeout(common::SOON, closed)
        .await
        .unwrap()
        .unwrap();
    assert!(!words.is_empty());
    assert!(session.is_closed());
    assert!(matches!(
        session.exec("true").await,
        Err(Error::Lost { .. })
    ));
    assert!(matches!(
        session.open_unix("/x").await,
        Err(Error::Lost { .. })
    ));
}

#[tokio::test]
async fn disconnecting_closes() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    session.disconnect().await;
    tokio::time::timeout(common::SOON, session.closed())
        .await
        .unwrap();
    assert!(session.is_closed());
}

/// Answers each connection by what it gets, after its input ended.
fn echo_after_the_end(listener: UnixListener) {
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.unwrap();
                stream.write_all(&all).await.unwrap();
                stream.shutdown().await.unwrap();
            });
        }
    });
}

#[tokio::test]
async fn our_half_of_a_stream_closes_alone() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let path = sshd.path("echo");
    echo_after_the_end(UnixListener::bind(&path).unwrap());
    let mut stream = session.open_unix(path.to_str().unwrap()).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).await.unwrap();
    assert_eq!(back, "hello");
    let error = session.open_unix("/nowhere.sock").await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}

#[tokio::test]
async fn their_half_of_a_stream_closes_alone() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let path = sshd.path("half");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _): (UnixStream, _) = listener.accept().await.unwrap();
        stream.write_all(b"first word").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        all
    });
    let mut stream = session.open_unix(path.to_str().unwrap()).await.unwrap();
    let mut first = String::new();
    stream.read_to_string(&mut first).await.unwrap();
    assert_eq!(first, "first word");
    stream.write_all(b"last word").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(server.await.unwrap(), b"last word");
}

#[tokio::test]
async fn fifty_streams_at_once() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let path = sshd.path("echo");
    echo_after_the_end(UnixListener::bind(&path).unwrap());
    let name = path.to_str().unwrap().to_owned();
    let running: Vec<_> = (0..50_u8)
        .map(|number| {
            let (session, name) = (session.clone(), name.clone());
            tokio::spawn(async move {
                let sent = vec![number; 200_000];
                let stream = session.open_unix(&name).await.unwrap();
                let (mut reading, mut writing) = tokio::io::split(stream);
                writing.write_all(&sent).await.unwrap();
                writing.shutdown().await.unwrap();
                let mut back = Vec::new();
                reading.read_to_end(&mut back).await.unwrap();
                assert!(back == sent);
            })
        })
        .collect();
    for run in running {
        run.await.unwrap();
    }
}

/// One client that stops reading must not stop the others: all share one connection.
#[tokio::test]
async fn a_stream_that_nobody_reads_stops_no_other() {
    const SIZE: usize = 60_000_000;
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let path = sshd.path("flood");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let piece: Vec<u8> = (0..60_000_u32).map(|n| n as u8).collect();
                for _ in 0..SIZE / piece.len() {
                    if stream.write_all(&piece).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let mut stalled = session.open_unix(path.to_str().unwrap()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let started = Instant::now();
    for _ in 0..5 {
        assert!(session.exec("true").await.unwrap().success());
    }
    eprintln!(
        "5 commands beside a stalled stream: {:?}",
        started.elapsed()
    );
    assert!(started.elapsed() < Duration::from_secs(5));
    // And nothing of the stalled stream is lost.
    let mut all = Vec::new();
    stalled.read_to_end(&mut all).await.unwrap();
    assert_eq!(all.len(), SIZE);
    assert!(
        all.chunks(60_000)
            .all(|piece| piece.iter().enumerate().all(|(n, b)| n as u8 == *b))
    );
}

#[tokio::test]
async fn a_write_to_a_closed_stream_fails_instead_of_waiting() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let path = sshd.path("closing");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(stream);
    });
    let mut stream = session.open_unix(path.to_str().unwrap()).await.unwrap();
    let writing = async {
        let piece = vec![0; 1 << 20];
        while stream.write_all(&piece).await.is_ok() {}
    };
    tokio::time::timeout(common::SOON, writing).await.unwrap();
}

#[tokio::test]
async fn a_folder_is_sent_with_its_modes() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let from = sshd.path("from");
    std::fs::create_dir_all(from.join("deep/er")).unwrap();
    common::secret(&from.join("deep/er/secret"), "hidden");
    std::fs::write(from.join("big"), vec![7; 300_000]).unwrap();
    let to = sshd.path("to");
    for _ in 0..2 {
        berth_provision::copy::send(&session, &from, to.to_str().unwrap())
            .await
            .unwrap();
    }
    assert_eq!(std::fs::read(to.join("big")).unwrap(), vec![7; 300_000]);
    let secret = to.join("deep/er/secret");
    assert_eq!(std::fs::read(&secret).unwrap(), b"hidden");
    assert_eq!(
        secret.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    let error = berth_provision::copy::send(&session, &from, "/nowhere/x")
        .await
        .unwrap_err();
    assert!(matches!(error, Error::RemoteFile { .. }), "{error}");
}
