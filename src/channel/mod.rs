//! Streams into a machine without SSH: through a port that its hypervisor gives it, to a program of ours in it.
//!
//! A connection over SSH costs an emulated guest, or one that has just been restored, more than all that is then asked of
//! its engine: it begins with public-key cryptography. The port's two ends are this computer's and the guest's own, so
//! there is nobody to keep out. The program in the guest is started over SSH, or before the guest is frozen.

use std::io;
use std::net::SocketAddrV4;
use std::path::Path;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use yamux::{Config, Connection, Mode};

/// The program in the guest, and how it is started.
const PROGRAM: &str = include_str!("guest.pl");
const START: &str = include_str!("start.sh");

/// What the program says first: that it is there, and how what follows is to be understood.
const GREETING: &str = "berth channel 1";

/// More streams than descriptors for them; yamux ends a connection with too many.
const MOST: usize = 4096;

/// A connection to the program in a guest, which ends when this is dropped.
pub struct Channel {
    wanted: mpsc::Sender<oneshot::Sender<yamux::Stream>>,
    /// How many streams the guest has not answered yet.
    unanswered: watch::Sender<usize>,
    task: AbortHandle,
}

/// Where a stream leads in the guest.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// A socket by its path, which has no newline in it.
    Unix(&'a str),
    /// A port of one of its addresses.
    Tcp(SocketAddrV4),
}

/// A two-way stream. Each direction ends on its own; dropping it ends both.
pub type Stream = Compat<yamux::Stream>;

/// The script, for a guest's `/bin/sh`, that starts the program there, unless it has no port for it; one that runs
/// already is replaced.
pub fn start_script() -> String {
    let start = START
        .replace("PORT", berth_driver_api::CHANNEL_PORT)
        .replace("GREETING", GREETING);
    format!(
        "mkdir -p /run/berth\ncat >/run/berth/channel.pl <<'END OF FILE'\n{PROGRAM}END OF FILE\n{start}"
    )
}

impl Channel {
    /// Connects at the hypervisor's `socket` and waits for the guest's greeting.
    ///
    /// # Errors
    /// If nobody listens there, or the guest does not say the greeting within `deadline`.
    pub async fn open(socket: &Path, deadline: Duration) -> io::Result<Self> {
        let greeted = async {
            let stream = UnixStream::connect(socket).await?;
            Self::over(stream).await
        };
        tokio::time::timeout(deadline, greeted)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn over(mut stream: UnixStream) -> io::Result<Self> {
        let mut greeting = [0; GREETING.len() + 1];
        stream.read_exact(&mut greeting).await?;
        if greeting[..] != *[GREETING.as_bytes(), b"\n"].concat() {
            return Err(io::Error::other("it says something else"));
        }
        let mut config = Config::default();
        config
            .set_max_num_streams(MOST)
            // No stream gets a larger window than it begins with, so that no guest fills this computer's memory.
            .set_max_connection_receive_window(Some(MOST * yamux::DEFAULT_CREDIT as usize));
        let connection = Connection::new(stream.compat(), config, Mode::Client);
        let (wanted, asked) = mpsc::channel(1);
        Ok(Channel {
            wanted,
            unanswered: watch::Sender::new(0),
            task: tokio::spawn(carry(connection, asked)).abort_handle(),
        })
    }

    /// Opens a stream. A guest that is held for a while answers when it goes on.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionRefused`] if nobody listens there; after any other the channel has ended.
    pub async fn connect(&self, place: Place<'_>) -> io::Result<Stream> {
        let line = match place {
            Place::Unix(path) => format!("unix {path}\n"),
            Place::Tcp(address) => format!("tcp {} {}\n", address.port(), address.ip()),
        };
        match self.ask(&line).await {
            Ok((stream, b'+')) => Ok(stream),
            Ok(_) => Err(io::ErrorKind::ConnectionRefused.into()),
            Err(error) => {
                self.end();
                self.ended().await;
                Err(error)
            }
        }
    }

    async fn ask(&self, line: &str) -> io::Result<(Stream, u8)> {
        let _unanswered = Unanswered::new(&self.unanswered);
        let lost = || io::Error::from(io::ErrorKind::NotConnected);
        let (sender, given) = oneshot::channel();
        self.wanted.send(sender).await.map_err(|_| lost())?;
        let mut stream = given.await.map_err(|_| lost())?.compat();
        stream.write_all(line.as_bytes()).await?;
        let answer = stream.read_u8().await?;
        Ok((stream, answer))
    }

    /// Returns when the guest has not answered for `time`, though it was asked.
    pub async fn is_silent(&self, time: Duration) {
        let mut unanswered = self.unanswered.subscribe();
        loop {
            // The sender is this channel's: it does not end before that.
            drop(unanswered.wait_for(|count| *count > 0).await);
            let answered = unanswered.wait_for(|count| *count == 0);
            if tokio::time::timeout(time, answered).await.is_err() {
                return;
            }
        }
    }

    /// Ends it.
    pub fn end(&self) {
        self.task.abort();
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.wanted.is_closed()
    }

    /// Returns when the channel has ended.
    pub async fn ended(&self) {
        self.wanted.closed().await;
    }
}

/// Counts one until it is dropped, as where whoever asked has left.
struct Unanswered<'a>(&'a watch::Sender<usize>);

impl<'a> Unanswered<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Unanswered(count)
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.end();
    }
}

/// Carries what the streams say and hear, and opens those that are asked for, until the guest hangs up.
async fn carry(
    mut connection: Connection<Compat<UnixStream>>,
    mut asked: mpsc::Receiver<oneshot::Sender<yamux::Stream>>,
) {
    let mut waiting = None;
    let ended = std::future::poll_fn(|cx| {
        loop {
            if waiting.is_none()
                && let Poll::Ready(Some(sender)) = asked.poll_recv(cx)
            {
                waiting = Some(sender);
            }
            if waiting.is_some()
                && let Poll::Ready(opened) = connection.poll_new_outbound(cx)
            {
                match (opened, waiting.take()) {
                    // Whoever asked may have left.
                    (Ok(stream), Some(sender)) => drop(sender.send(stream)),
                    (Err(error), _) => return Poll::Ready(Some(error)),
                    (Ok(_), None) => {}
                }
                continue;
            }
            match connection.poll_next_inbound(cx) {
                // The guest opens none.
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(error)),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    tracing::debug!(?ended, "the channel has ended");
}

#[cfg(test)]
mod tests;
