//! What a command writes, kept for later in little memory.

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::AsyncWrite;

/// So much of a stream is kept in memory, in bytes; the rest goes into a file without a name.
const IN_MEMORY: usize = 16 << 10;

/// A stream's bytes, and what they are told apart by.
#[derive(Default)]
pub struct Capture {
    memory: Vec<u8>,
    file: Option<File>,
    length: u64,
    digest: Sha256,
}

/// A captured stream that is complete.
#[derive(Default)]
pub struct Captured {
    memory: Vec<u8>,
    file: Option<std::fs::File>,
    /// In bytes.
    pub length: u64,
    /// SHA-256 of all of it.
    pub digest: [u8; 32],
}

impl AsyncWrite for Capture {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        piece: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.file {
            None if this.memory.len() + piece.len() <= IN_MEMORY => {
                this.memory.extend_from_slice(piece);
                piece.len()
            }
            None => {
                let file = this.file.insert(File::from_std(spilled(&this.memory)?));
                this.memory = Vec::new();
                ready!(Pin::new(file).poll_write(context, piece))?
            }
            Some(file) => ready!(Pin::new(file).poll_write(context, piece))?,
        };
        this.digest.update(piece.get(..written).unwrap_or_default());
        this.length += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().file {
            Some(file) => Pin::new(file).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

impl Capture {
    /// Everything that was written.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub async fn finish(mut self) -> io::Result<Captured> {
        use tokio::io::AsyncWriteExt;
        self.flush().await?;
        Ok(Captured {
            memory: self.memory,
            file: match self.file {
                Some(file) => Some(file.into_std().await),
                None => None,
            },
            length: self.length,
            digest: self.digest.finalize().into(),
        })
    }
}

impl Captured {
    /// The bytes, from the first on.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn reader(&mut self) -> io::Result<Box<dyn Read + '_>> {
        match &mut self.file {
            Some(file) => {
                file.seek(SeekFrom::Start(0))?;
                Ok(Box::new(file))
            }
            None => Ok(Box::new(Cursor::new(&self.memory))),
        }
    }
}

/// A file without a name; /tmp is often memory, which is what this is to save.
pub fn unnamed() -> io::Result<std::fs::File> {
    tempfile::tempfile_in("/var/tmp").or_else(|_| tempfile::tempfile())
}

fn spilled(so_far: &[u8]) -> io::Result<std::fs::File> {
    let mut file = unnamed()?;
    file.write_all(so_far)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn little_stays_in_memory_and_much_comes_back_from_disk() {
        for length in [0usize, 5, IN_MEMORY, IN_MEMORY + 1, 300_000] {
            let all: Vec<u8> = (0..length).map(|n| (n * 7 % 251) as u8).collect();
            let mut capture = Capture::default();
            for piece in all.chunks(4099) {
                capture.write_all(piece).await.unwrap();
            }
            let mut captured = capture.finish().await.unwrap();
            assert_eq!(captured.file.is_some(), length > IN_MEMORY);
            assert_eq!(captured.length, length as u64);
            assert_eq!(captured.digest[..], Sha256::digest(&all)[..]);
            for _ in 0..2 {
                let mut back = Vec::new();
                captured.reader().unwrap().read_to_end(&mut back).unwrap();
                assert!(back == all, "{length}");
            }
        }
    }
}
