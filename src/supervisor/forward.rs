//! One client's connection, forwarded to the engine inside the machine.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_driver_api::footprint;
use berth_provision::ssh::Session;
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::channel::Channels;
use super::link::Link;
use crate::channel::{Channel, Place};

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
    channels: Channels,
    streams: Arc<Streams>,
}

impl Forwarder {
    /// Forwards to `engine`, a socket inside the machine.
    pub fn new(link: Link, channels: Channels, engine: String) -> Self {
        Forwarder {
            link,
            channels,
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
        let (way, mut stream) = tokio::time::timeout(PATIENCE, self.open())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        tokio::spawn(self.streams.clone().keep_spare(way));
        tokio::io::copy_bidirectional_with_sizes(&mut client, &mut stream, BUFFER, BUFFER)
            .await
            .map(drop)
    }

    async fn open(&mut self) -> io::Result<(Way, Box<dyn Stream>)> {
        loop {
            let way = self.way().await?;
            if let Some(spare) = self.streams.take_spare() {
                return Ok((way, spare));
            }
            let opened = way.open(&self.streams.engine).await;
            match (&way, &opened) {
                // The guest boots anew, and did not say so: there is another way, or will be.
                (Way::Channel(channel), Err(_)) if channel.has_ended() => {}
                _ => return Ok((way, opened?)),
            }
        }
    }

    /// The channel, where there is one; else the connection that stands, or the next one that will.
    async fn way(&mut self) -> io::Result<Way> {
        if let Some(channel) = self.channels.settled().await {
            return Ok(Way::Channel(channel));
        }
        let session = self.link.session().await;
        session
            .map(Way::Ssh)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// What streams to the engine go by.
enum Way {
    Channel(Arc<Channel>),
    Ssh(Session),
}

/// A stream, whichever way it goes.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Way {
    async fn open(&self, engine: &str) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Way::Channel(channel) => Box::new(channel.connect(Place::Unix(engine)).await?),
            Way::Ssh(session) => {
                let opened = session.open_engine(engine).await;
                Box::new(opened.map_err(io::Error::other)?)
            }
        })
    }

    /// Returns when nothing goes by it any more.
    async fn closed(&self) {
        match self {
            Way::Channel(channel) => channel.ended().await,
            Way::Ssh(session) => drop(session.closed().await),
        }
    }
}

/// Streams to the engine. One is opened ahead of the next client, since opening takes a round trip to the guest.
struct Streams {
    engine: String,
    spare: Mutex<Option<Box<dyn Stream>>>,
    opening: tokio::sync::Mutex<()>,
}

impl Streams {
    fn take_spare(&self) -> Option<Box<dyn Stream>> {
        let mut stream = self.slot().take()?;
        // The engine says nothing before it is asked: whatever can be read now is the stream's end.
        match stream.read(&mut [0u8; 1]).now_or_never() {
            None => Some(stream),
            Some(_) => None,
        }
    }

    async fn keep_spare(self: Arc<Self>, way: Way) {
        // Of many clients that come at once, one has a spare opened.
        let Ok(opening) = self.opening.try_lock() else {
            return;
        };
        if self.slot().is_some() {
            return;
        }
        let Ok(stream) = way.open(&self.engine).await else {
            return;
        };
        *self.slot() = Some(stream);
        drop(opening);
        tokio::select! {
            () = tokio::time::sleep(SPARE_KEPT) => {}
            () = way.closed() => {}
        }
        self.slot().take();
        // Most of the code that served the clients is not needed to wait for the next.
        footprint::forget_code();
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Box<dyn Stream>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
