//! A two-way stream to a socket in the machine.
//!
//! All streams share one connection, and russh leaves it to each reader to keep up: it widens a channel's window as
//! data arrives, and stops reading the whole connection when one channel's queue is full. A paused `docker logs`
//! would freeze every other client of the machine. So each stream has a task that always reads: what its user does
//! not take waits in memory, and beyond that in a file without a name. A user who is merely slower than the machine
//! slows the machine down instead, for a short while at a time, which keeps the file small.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::bytes::{Buf, Bytes};

use super::overflow::Overflow;

/// What waits in memory for the stream's user.
const IN_MEMORY: usize = 256 * 1024;

/// A user who does not take `IN_MEMORY` bytes in this time is too slow for the others to wait for.
const PATIENCE: Duration = Duration::from_millis(100);

/// A two-way stream to a socket in the machine. Each direction ends on its own; dropping it closes both.
pub struct Stream {
    shared: Arc<Shared>,
    channel: Arc<ChannelWriteHalf<Msg>>,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    shut: bool,
    intake: JoinHandle<()>,
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Rung when the user has taken something.
    taken: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    /// How much the user has ever taken.
    taken: u64,
    /// Nothing more comes.
    ended: Option<Result<(), ErrorKind>>,
    /// Nothing more goes.
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, data: Bytes) {
        let mut state = self.state();
        state.bytes += data.len();
        state.waiting.push_back(data);
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    fn end(&self, outcome: Result<(), ErrorKind>) {
        let mut state = self.state();
        state.ended.get_or_insert(outcome);
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        if let Some(writer) = state.writer.take() {
            writer.wake();
        }
    }
}

impl Stream {
    pub(super) fn new(channel: Channel<Msg>) -> Self {
        Stream::with(channel, None)
    }

    /// The standard streams of a command; its session counts for as long as the stream is there.
    pub(super) fn of_session(channel: Channel<Msg>, permit: OwnedSemaphorePermit) -> Self {
        Stream::with(channel, Some(permit))
    }

    fn with(channel: Channel<Msg>, permit: Option<OwnedSemaphorePermit>) -> Self {
        let (reader, channel) = channel.split();
        let shared = Arc::new(Shared::default());
        Stream {
            writer: Box::pin(channel.make_writer()),
            channel: Arc::new(channel),
            shut: false,
            _permit: permit,
            intake: tokio::spawn(take_in(reader, Arc::clone(&shared))),
            shared,
        }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stream")
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.intake.abort();
        close_later(&self.channel);
    }
}

/// Reads all that the machine sends, and keeps what its user does not take yet.
async fn take_in(mut reader: ChannelReadHalf, shared: Arc<Shared>) {
    let outcome = keep_reading(&mut reader, &shared).await;
    shared.end(outcome.map_err(|error| error.kind()));
    shared.close();
}

async fn keep_reading(reader: &mut ChannelReadHalf, shared: &Shared) -> io::Result<()> {
    let mut overflow = Overflow::default();
    // Whether the machine will send more; what overflowed is handed on even after that.
    let mut open = true;
    let mut eof = false;
    let mut taken = 0;
    let mut last_taken = Instant::now();
    let mut stalled = false;
    loop {
        let (mut room, taken_now) = {
            let state = shared.state();
            (IN_MEMORY.saturating_sub(state.bytes), state.taken)
        };
        if taken_now >= taken + IN_MEMORY as u64 || room == IN_MEMORY {
            taken = taken_now;
            last_taken = Instant::now();
            stalled = false;
        }
        while room > 0 && !overflow.is_empty() {
            let piece = overflow.read().await?;
            room = room.saturating_sub(piece.len());
            shared.push(piece);
        }
        if overflow.is_empty() && (eof || !open) {
            shared.end(Ok(()));
            if !open {
                return Ok(());
            }
        }
        let flowing = overflow.is_empty() && room > 0;
        let takes = flowing || (stalled && !overflow.is_full());
        tokio::select! {
            message = reader.wait(), if open && takes => match message {
                Some(ChannelMsg::Data { data }) if flowing => shared.push(data),
                Some(ChannelMsg::Data { data }) => overflow.write(&data).await?,
                Some(ChannelMsg::Eof) => eof = true,
                Some(ChannelMsg::Close) | None => {
                    open = false;
                    shared.close();
                }
                Some(_) => {}
            },
            () = shared.taken.notified(), if !flowing => {}
            () = sleep_until(last_taken + PATIENCE), if open && !takes && !stalled => stalled = true,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.shared.state();
        if state.waiting.is_empty() {
            return match state.ended {
                Some(outcome) => Poll::Ready(outcome.map_err(io::Error::from)),
                None => {
                    state.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        }
        let mut count = 0;
        while buf.remaining() > 0
            && let Some(piece) = state.waiting.front_mut()
        {
            let part = piece.split_to(piece.len().min(buf.remaining()));
            buf.put_slice(&part);
            count += part.len();
            if !piece.has_remaining() {
                state.waiting.pop_front();
            }
        }
        state.bytes -= count;
        state.taken += count as u64;
        drop(state);
        self.shared.taken.notify_one();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        // The channel's own writer does not notice that the machine closed the channel while it waits.
        let mut state = self.shared.state();
        if state.closed || self.shut {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        state.writer = Some(cx.waker().clone());
        drop(state);
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.writer.as_mut().poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.shut || self.shared.state().closed {
            return Poll::Ready(Ok(()));
        }
        let outcome = self.writer.as_mut().poll_shutdown(cx);
        self.shut = outcome.is_ready();
        outcome
    }
}

/// A stream with something that lives as long.
pub(super) struct Held<T> {
    stream: Stream,
    _held: T,
}

impl<T> Held<T> {
    pub(super) fn new(stream: Stream, held: T) -> Self {
        Held {
            stream,
            _held: held,
        }
    }
}

impl<T: Unpin> AsyncRead for Held<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<T: Unpin> AsyncWrite for Held<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Closes a channel from a place that cannot wait.
pub(super) fn close_later(channel: &Arc<ChannelWriteHalf<Msg>>) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        let channel = Arc::clone(channel);
        runtime.spawn(async move { channel.close().await });
    }
}
