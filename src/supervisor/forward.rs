//! One client's connection, forwarded to the engine inside the machine.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_driver_api::footprint;
use berth_provision::ssh::{Session, Stream};
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::link::Link;

/// A client waits this long for a machine that is rebooting.
const PATIENCE: Duration = Duration::from_secs(180);

/// A spare stream is kept this long after the last client: engines end idle connections after minutes.
const SPARE_KEPT: Duration = Duration::from_secs(30);

/// What a connection copies at a time (bytes).
const BUFFER: usize = 32 << 10;

/// The way from a client's connection, however it came, to the engine.
#[derive(Clone)]
pub struct Forwarder {
    link: Link,
    streams: Arc<Streams>,
}

impl Forwarder {
    /// Forwards to `engine`, a socket inside the machine.
    pub fn new(link: Link, engine: String) -> Self {
        Forwarder {
            link,
            streams: Arc::new(Streams {
                engine,
                spare: Mutex::default(),
                opening: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// Copies both ways; the end of one direction is passed on and the other goes on, as `attach` and `build` need.
    ///
    /// # Errors
    /// If the engine is not reached, or either side breaks off.
    pub async fn forward(
        mut self,
        mut client: impl AsyncRead + AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let session = tokio::time::timeout(PATIENCE, self.link.session())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
            .ok_or(io::ErrorKind::NotConnected)?;
        let mut stream = match self.streams.take_spare() {
            Some(stream) => stream,
            None => session
                .open_engine(&self.streams.engine)
                .await
                .map_err(io::Error::other)?,
        };
        tokio::spawn(self.streams.clone().keep_spare(session));
        tokio::io::copy_bidirectional_with_sizes(&mut client, &mut stream, BUFFER, BUFFER)
            .await
            .map(drop)
    }
}

/// Streams to the engine. One is opened ahead of the next client, since opening takes a round trip to the guest.
struct Streams {
    engine: String,
    spare: Mutex<Option<Stream>>,
    opening: tokio::sync::Mutex<()>,
}

impl Streams {
    fn take_spare(&self) -> Option<Stream> {
        let mut stream = self.slot().take()?;
        // The engine says nothing before it is asked: whatever can be read now is the stream's end.
        match stream.read(&mut [0u8; 1]).now_or_never() {
            None => Some(stream),
            Some(_) => None,
        }
    }

    async fn keep_spare(self: Arc<Self>, session: Session) {
        // Of many clients that come at once, one has a spare opened.
        let Ok(opening) = self.opening.try_lock() else {
            return;
        };
        if self.slot().is_some() {
            return;
        }
        let Ok(stream) = session.open_engine(&self.engine).await else {
            return;
        };
        *self.slot() = Some(stream);
        drop(opening);
        tokio::select! {
            () = tokio::time::sleep(SPARE_KEPT) => {}
            _ = session.closed() => {}
        }
        self.slot().take();
        // Most of the code that served the clients is not needed to wait for the next.
        footprint::forget_code();
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Stream>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
