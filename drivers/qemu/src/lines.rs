//! Lines over a unix socket or a pair of pipes: the ground that QMP and the guest agent's protocol share.

use std::io::{self, ErrorKind};

use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::call::CallError;
use crate::pipes::Pipes;

/// What lines come and go by.
pub(crate) enum Stream {
    Socket(UnixStream),
    Pipes(Pipes),
}

impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Self {
        Stream::Socket(socket)
    }
}

impl Stream {
    /// Returns when there is something to read or, if `sending`, when something can be written.
    async fn ready(&self, sending: bool) -> io::Result<()> {
        match self {
            Stream::Socket(socket) if sending => socket
                .ready(Interest::READABLE | Interest::WRITABLE)
                .await
                .map(drop),
            Stream::Socket(socket) => socket.readable().await,
            Stream::Pipes(pipes) => tokio::select! {
                ready = pipes.from.readable() => ready,
                ready = pipes.to.writable(), if sending => ready,
            },
        }
    }

    fn try_read(&self, chunk: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Socket(socket) => socket.try_read(chunk),
            Stream::Pipes(pipes) => pipes.from.try_read(chunk),
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Socket(socket) => socket.try_write(bytes),
            Stream::Pipes(pipes) => pipes.to.try_write(bytes),
        }
    }
}

/// A stream that is read line by line. What was received or is still to be sent lives here and not in a future:
/// dropping one in the middle of a line loses nothing and garbles nothing.
pub(crate) struct Lines {
    stream: Stream,
    limit: usize,
    incoming: Vec<u8>,
    searched: usize,
    outgoing: Vec<u8>,
}

impl Lines {
    /// A line longer than `limit` is an error: what a guest sends is not to be trusted.
    pub(crate) fn new(stream: impl Into<Stream>, limit: usize) -> Self {
        Lines {
            stream: stream.into(),
            limit,
            incoming: Vec::new(),
            searched: 0,
            outgoing: Vec::new(),
        }
    }

    /// Puts bytes in line to be sent.
    pub(crate) fn queue(&mut self, bytes: &[u8]) {
        self.outgoing.extend_from_slice(bytes);
    }

    /// Sends what is queued and returns the next line that arrives, without its end.
    pub(crate) async fn next(&mut self) -> Result<Vec<u8>, CallError> {
        loop {
            let unseen = self.incoming.get(self.searched..).unwrap_or_default();
            if let Some(offset) = unseen.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.incoming.drain(..=self.searched + offset).collect();
                self.searched = 0;
                while line.last().is_some_and(|byte| b"\r\n".contains(byte)) {
                    line.pop();
                }
                return Ok(line);
            }
            self.searched = self.incoming.len();
            if self.searched > self.limit {
                return Err(CallError::Malformed(format!(
                    "it is longer than {} bytes",
                    self.limit
                )));
            }
            self.stream.ready(!self.outgoing.is_empty()).await?;
            self.send()?;
            self.receive()?;
        }
    }

    fn send(&mut self) -> Result<(), CallError> {
        if self.outgoing.is_empty() {
            return Ok(());
        }
        match self.stream.try_write(&self.outgoing) {
            Ok(count) => drop(self.outgoing.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // What was received before the end is still to be read: the read that follows reports the end.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.outgoing.clear(),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(), CallError> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.try_read(&mut chunk) {
            Ok(0) => Err(CallError::Closed),
            Ok(count) => {
                self.incoming
                    .extend_from_slice(chunk.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
