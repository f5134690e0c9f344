//! The process that keeps connections.

use std::io;
use std::sync::Arc;

use berth_provision::Error as ProvisionError;
use berth_provision::ssh::Key;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::frame::{Ask, Frame, PIECE, PROTOCOL, Unreachable, parse};
use super::labelled::Frames;
use super::pool::{Pool, place};
use super::{KEEP, lock, socket};
use crate::background;
use crate::fleet::default_parallel;
use crate::store::{self, Home, Lock, create_private_folder};
use crate::supervisor::listen;

/// Keeps connections until nothing was asked for long enough, a client says that it is to end, or SIGTERM comes; then
/// what runs is finished.
///
/// # Errors
/// If the socket cannot be made.
pub async fn run(home: &Home) -> store::Result<()> {
    create_private_folder(&home.kept())?;
    let path = socket(home);
    if let Some(folder) = path.parent() {
        create_private_folder(folder)?;
    }
    let Ok(lock) = Lock::try_take(&lock(home), KEEP)? else {
        // Another one won the race: it does the same work.
        return background::say_ready().await;
    };
    let listener = listen(&path).map_err(store::Error::io(&path))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(store::Error::io("SIGTERM"))?;
    // As many connections as there may be files.
    default_parallel();
    background::say_ready().await?;
    let (pool, told_to_end) = (Arc::new(Pool::default()), Arc::new(Notify::new()));
    let mut clients = JoinSet::new();
    while let Some(over) = pool.expire() {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) if is_ours(&client) => {
                    let (pool, told_to_end) = (pool.clone(), told_to_end.clone());
                    clients.spawn(async move {
                        if let Err(error) = serve(client, &pool, &told_to_end).await {
                            tracing::debug!(%error, "a client is gone");
                        }
                    });
                }
                Ok(_) => tracing::warn!("another user was turned away"),
                Err(error) => {
                    // Out of file descriptors: commands that end give some back.
                    tracing::warn!(%error, "accept failed");
                    clients.join_next().await;
                }
            },
            () = pool.changes() => {}
            _ = clients.join_next(), if !clients.is_empty() => {}
            () = tokio::time::sleep_until(over) => {}
            _ = terminate.recv() => break,
            () = told_to_end.notified() => break,
        }
    }
    // Whoever comes now finds no socket, or is not answered, and connects itself.
    let _ = std::fs::remove_file(&path);
    drop(listener);
    drop(lock);
    pool.clear();
    while clients.join_next().await.is_some() {}
    Ok(())
}

/// Whether the other end is a process of this user's. The socket's mode says so too, where its folder is right.
fn is_ours(client: &UnixStream) -> bool {
    let other = client.peer_cred().map(|other| other.uid());
    other.is_ok_and(|uid| uid == nix::unistd::geteuid().as_raw())
}

/// Does what one client wants.
async fn serve(client: UnixStream, pool: &Pool, told_to_end: &Notify) -> io::Result<()> {
    let (mut from, to) = client.into_split();
    let frames = Frames::new(to);
    match Frame::read(&mut from).await? {
        Frame::Run(ask) => {
            let last = command(&parse(&ask)?, from, &frames, pool).await?;
            frames.send(last).await
        }
        Frame::End => {
            told_to_end.notify_one();
            frames.send(Frame::Status(0)).await
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Runs a command; returns the frame that tells how it ended.
///
/// # Errors
/// If the client is gone: then its connection, and what runs on it, is too.
async fn command(
    ask: &Ask,
    mut from: OwnedReadHalf,
    frames: &Frames,
    pool: &Pool,
) -> io::Result<Frame> {
    let agent = std::env::var("SSH_AUTH_SOCK").ok();
    if ask.protocol != PROTOCOL || (ask.target.key == Key::Agent && ask.agent != agent) {
        return Ok(Frame::Yourself);
    }
    pool.asked(ask.keep);
    let Ok(place) = place(&ask.target).await else {
        return Ok(Frame::Yourself);
    };
    let taken = tokio::select! {
        taken = pool.take(place, &ask.target) => taken,
        // It has nothing to say before the command is begun.
        _ = Frame::read(&mut from) => return Err(io::ErrorKind::ConnectionAborted.into()),
    };
    let busy = match taken {
        Ok(busy) => busy,
        Err(ProvisionError::Unreachable { host, after, last }) => {
            let why = Unreachable { host, after, last };
            return Ok(Frame::Unreachable(serde_json::to_vec(&why)?));
        }
        // Everything else shows at once, and then in the client's own words.
        Err(_) => return Ok(Frame::Yourself),
    };
    frames.send(Frame::Begun).await?;
    let (input, stdin) = tokio::io::duplex(PIECE);
    let (stdout, stderr) = (frames.of_kind(Frame::OUT), frames.of_kind(Frame::ERR));
    let ran = tokio::select! {
        ran = busy.session().exec_streams(&ask.line, stdin, stdout, stderr) => ran,
        gone = feed(from, frames, input) => return Err(gone),
    };
    Ok(match ran {
        Ok(code) => {
            busy.give_back();
            Frame::Status(code)
        }
        Err(ProvisionError::Lost { detail, .. }) => Frame::Lost(detail),
        Err(error) => Frame::Lost(error.to_string()),
    })
}

/// Hands the client's input on; returns when the client is gone, and not before.
async fn feed(mut from: OwnedReadHalf, frames: &Frames, mut input: DuplexStream) -> io::Error {
    loop {
        let piece = match Frame::read(&mut from).await {
            Ok(Frame::Input(piece)) if piece.len() <= PIECE => piece,
            Ok(_) => return io::ErrorKind::InvalidData.into(),
            Err(error) => return error,
        };
        if piece.is_empty() {
            let _ = input.shutdown().await;
            continue;
        }
        let taken = async {
            // A command that does not read all of its input is no error.
            let _ = input.write_all(&piece).await;
            frames.send(Frame::More).await
        };
        // The client says nothing before it is asked for more: what comes is its end.
        tokio::select! {
            biased;
            taken = taken => if let Err(error) = taken {
                return error;
            },
            ended = Frame::read(&mut from) => {
                return ended.err().unwrap_or(io::ErrorKind::InvalidData.into());
            }
        }
    }
}
