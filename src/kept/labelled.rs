//! Two streams of a command on one socket, each piece in a frame of its own.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::net::unix::OwnedWriteHalf;

use super::frame::{Frame, PIECE, head};

/// The socket, and what of the last frame it has not taken yet.
struct Out {
    socket: OwnedWriteHalf,
    waiting: Vec<u8>,
    sent: usize,
}

/// One end for several writers; frames of one do not get into those of another.
#[derive(Clone)]
pub struct Frames(Arc<Mutex<Out>>);

/// Bytes that go out in frames of one kind.
pub struct Labelled {
    frames: Frames,
    kind: u8,
}

impl Frames {
    /// Frames on a socket.
    pub fn new(socket: OwnedWriteHalf) -> Self {
        Frames(Arc::new(Mutex::new(Out {
            socket,
            waiting: Vec::new(),
            sent: 0,
        })))
    }

    /// A writer whose bytes are frames of a kind.
    pub fn of_kind(&self, kind: u8) -> Labelled {
        Labelled {
            frames: self.clone(),
            kind,
        }
    }

    /// Sends one.
    ///
    /// # Errors
    /// If the other end is gone.
    pub async fn send(&self, frame: Frame) -> io::Result<()> {
        let bytes = frame.bytes()?;
        std::future::poll_fn(|context| {
            let mut out = self.out();
            ready!(out.drain(context))?;
            out.waiting.extend_from_slice(&bytes);
            Poll::Ready(io::Result::Ok(()))
        })
        .await?;
        std::future::poll_fn(|context| self.out().drain(context)).await
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Out {
    /// Has the socket take all that waits.
    fn drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.waiting.len() {
            let rest = self.waiting.get(self.sent..).unwrap_or_default();
            let sent = ready!(Pin::new(&mut self.socket).poll_write(context, rest))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.waiting.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Labelled {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut out = self.frames.out();
        ready!(out.drain(context))?;
        let piece = bytes.get(..bytes.len().min(PIECE)).unwrap_or_default();
        if !piece.is_empty() {
            out.waiting.extend_from_slice(&head(self.kind, piece.len()));
            out.waiting.extend_from_slice(piece);
        }
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.frames.out().drain(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}
