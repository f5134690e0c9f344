//! One input for many commands.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use super::capture::unnamed;

/// The most that is read from the file at once: the runtime's thread reads it, for it is in the page cache.
const PIECE: usize = 32 << 10;

/// An input that was read to its end. Clones read it each from its beginning and at their own pace.
#[derive(Clone)]
pub struct Broadcast {
    file: Option<Arc<File>>,
    at: u64,
}

impl Broadcast {
    /// An input that has ended already.
    pub fn empty() -> Self {
        Broadcast { file: None, at: 0 }
    }

    /// Reads `input` to its end, into a file without a name.
    ///
    /// # Errors
    /// If it cannot be read, or there is no room for it.
    pub async fn read(mut input: impl AsyncRead + Unpin) -> io::Result<Self> {
        let mut file = tokio::fs::File::from_std(unnamed()?);
        tokio::io::copy(&mut input, &mut file).await?;
        Ok(Broadcast {
            file: Some(Arc::new(file.into_std().await)),
            at: 0,
        })
    }
}

impl AsyncRead for Broadcast {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(file) = self.file.clone() else {
            return Poll::Ready(Ok(()));
        };
        let room = buffer.remaining().min(PIECE);
        let count = file.read_at(buffer.initialize_unfilled_to(room), self.at)?;
        buffer.advance(count);
        self.at += count as u64;
        Poll::Ready(Ok(()))
    }
}
