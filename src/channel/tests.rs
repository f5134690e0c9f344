//! The program as a guest runs it, here.

use std::os::fd::OwnedFd;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UnixListener};
use tokio::process::{Child, Command};

use super::*;

/// A channel to a program of this computer's own.
async fn channel() -> (Channel, Child) {
    let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    let program = Command::new("perl")
        .args(["-e", PROGRAM, GREETING])
        .stdin(Stdio::from(OwnedFd::from(there)))
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let here = UnixStream::from_std(here).unwrap();
    (Channel::over(here).await.unwrap(), program)
}

fn signal(program: &Child, signal: Signal) {
    let pid = Pid::from_raw(program.id().unwrap().try_into().unwrap());
    kill(pid, signal).unwrap();
}

/// Listens where every connection is answered with what it has said, once it has said all.
fn echo(folder: &Path) -> String {
    let path = folder.join("echo.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut said = Vec::new();
                client.read_to_end(&mut said).await.unwrap();
                client.write_all(&said).await.unwrap();
            });
        }
    });
    path.to_str().unwrap().to_owned()
}

async fn asks(channel: &Channel, path: &str, words: &[u8]) -> Vec<u8> {
    let stream = channel.connect(Place::Unix(path)).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut heard = Vec::new();
    let says = async {
        writer.write_all(words).await.unwrap();
        // `docker attach` ends its input and goes on reading.
        writer.shutdown().await.unwrap();
    };
    let hears = reader.read_to_end(&mut heard);
    tokio::join!(says, hears).1.unwrap();
    heard
}

#[tokio::test]
async fn every_stream_carries_its_own_bytes_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (channel, _program) = channel().await;
    let path = echo(folder.path());
    let long: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_be_bytes).collect();
    let several = (0..20u8).map(|number| {
        let (channel, path) = (&channel, &path);
        async move {
            let words = vec![number; 100_000];
            assert_eq!(asks(channel, path, &words).await, words);
        }
    });
    let (heard, _) = tokio::join!(
        asks(&channel, &path, &long),
        futures_util::future::join_all(several)
    );
    assert!(heard == long, "{} of {} bytes", heard.len(), long.len());
    assert_eq!(asks(&channel, &path, b"").await, b"");
}

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (channel, _program) = channel().await;
    let endless = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let std::net::SocketAddr::V4(place) = endless.local_addr().unwrap() else {
        unreachable!("bound to IPv4");
    };
    tokio::spawn(async move {
        let (mut client, _) = endless.accept().await.unwrap();
        while client.write_all(&[0; 65536]).await.is_ok() {}
    });
    let mut unread = channel.connect(Place::Tcp(place)).await.unwrap();
    unread.read_exact(&mut [0; 1]).await.unwrap();
    let path = echo(folder.path());
    let words = vec![1; 1_000_000];
    assert!(asks(&channel, &path, &words).await == words);
    unread.read_exact(&mut vec![0; 1_000_000]).await.unwrap();
}

#[tokio::test]
async fn a_place_where_nobody_listens_is_refused_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (channel, _program) = channel().await;
    let gone = folder.path().join("gone.sock");
    for place in [
        Place::Unix(gone.to_str().unwrap()),
        Place::Unix(&"x".repeat(300)),
        Place::Tcp("127.0.0.1:9".parse().unwrap()),
    ] {
        let refused = channel.connect(place).await.err().unwrap();
        assert_eq!(
            refused.kind(),
            io::ErrorKind::ConnectionRefused,
            "{place:?}"
        );
    }
    let path = echo(folder.path());
    assert_eq!(asks(&channel, &path, b"hello").await, b"hello");
}

#[tokio::test]
async fn the_program_says_that_it_ends_and_leaves_with_the_channel() {
    let (channel, mut program) = super::tests::channel().await;
    signal(&program, Signal::SIGTERM);
    channel.ended().await;
    program.wait().await.unwrap();
    let lost = channel
        .connect(Place::Unix("/nowhere"))
        .await
        .err()
        .unwrap();
    assert_eq!(lost.kind(), io::ErrorKind::NotConnected);

    let (channel, mut program) = super::tests::channel().await;
    drop(channel);
    program.wait().await.unwrap();
}

#[tokio::test]
async fn a_guest_that_is_held_is_told_from_one_that_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (channel, program) = channel().await;
    let path = echo(folder.path());
    let soon = Duration::from_millis(100);
    let silent = tokio::time::timeout(soon * 5, channel.is_silent(soon));
    assert!(silent.await.is_err(), "nobody has asked");
    signal(&program, Signal::SIGSTOP);
    let asking = asks(&channel, &path, b"hello");
    tokio::pin!(asking);
    tokio::select! {
        () = channel.is_silent(soon) => {}
        _ = &mut asking => panic!("it was held"),
    }
    signal(&program, Signal::SIGCONT);
    assert_eq!(asking.await, b"hello");
    let silent = tokio::time::timeout(soon * 5, channel.is_silent(soon));
    assert!(silent.await.is_err(), "it has answered");
}

#[tokio::test]
async fn what_does_not_greet_is_no_channel() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("port");
    let listener = UnixListener::bind(&path).unwrap();
    let silent = Channel::open(&path, Duration::from_millis(50)).await;
    assert_eq!(silent.err().unwrap().kind(), io::ErrorKind::TimedOut);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let _ = client.write_all(b"berth channel 2\n").await;
        }
    });
    let other = Channel::open(&path, Duration::from_secs(30)).await;
    assert_eq!(other.err().unwrap().to_string(), "it says something else");
}
