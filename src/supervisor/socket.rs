//! The engine's socket on this computer.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_provision::ssh::{Session, Stream};
use futures_util::FutureExt;
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};

use super::link::Link;

/// A client waits this long for a machine that is rebooting.
const PATIENCE: Duration = Duration::from_secs(180);

/// A spare stream is kept this long after the last client: engines end idle connections after minutes.
const SPARE_KEPT: Duration = Duration::from_secs(30);

/// What a connection copies at a time (bytes).
const BUFFER: usize = 32 << 10;

/// Listens at `path`, mode 0600 from birth: bound under another name and renamed.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let draft = path.with_extension("new");
    let _ = std::fs::remove_file(&draft);
    // The folder is 0700, so nobody else reaches the socket between bind and chmod either.
    let listener = UnixListener::bind(&draft)?;
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&draft, path)?;
    Ok(listener)
}

/// Forwards every connection to `engine`, a socket inside the machine, for as long as it is polled.
pub async fn serve(listener: UnixListener, link: Link, engine: String) {
    let streams = Arc::new(Streams {
        engine,
        spare: Mutex::default(),
        opening: tokio::sync::Mutex::default(),
    });
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let (link, streams) = (link.clone(), streams.clone());
                tokio::spawn(async move {
                    if let Err(error) = forward(client, link, streams).await {
                        tracing::debug!(%error, "a connection ended");
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors: the connections that are open give some back.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Copies both ways; the end of one direction is passed on and the other goes on, as `attach` and `build` need.
async fn forward(mut client: UnixStream, mut link: Link, streams: Arc<Streams>) -> io::Result<()> {
    let session = tokio::time::timeout(PATIENCE, link.session())
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        .ok_or(io::ErrorKind::NotConnected)?;
    let mut stream = match streams.take_spare() {
        Some(stream) => stream,
        None => session
            .open_unix(&streams.engine)
            .await
            .map_err(io::Error::other)?,
    };
    tokio::spawn(streams.clone().keep_spare(session));
    tokio::io::copy_bidirectional_with_sizes(&mut client, &mut stream, BUFFER, BUFFER)
        .await
        .map(drop)
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
        let Ok(stream) = session.open_unix(&self.engine).await else {
            return;
        };
        *self.slot() = Some(stream);
        drop(opening);
        tokio::select! {
            () = tokio::time::sleep(SPARE_KEPT) => {}
            _ = session.closed() => {}
        }
        self.slot().take();
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Stream>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
