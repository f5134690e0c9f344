//! What a stream's user is too slow to take, in a file without a name.

use std::io::{self, SeekFrom};

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio_util::bytes::Bytes;

/// The most that waits in a file. Then the machine has to wait.
const LIMIT: u64 = 1024 * 1024 * 1024;

/// What is read back at once.
const PIECE: u64 = 64 * 1024;

/// A queue of bytes on disk.
#[derive(Default)]
pub(super) struct Overflow {
    file: Option<File>,
    read: u64,
    written: u64,
}

impl Overflow {
    pub(super) fn is_empty(&self) -> bool {
        self.read == self.written
    }

    pub(super) fn is_full(&self) -> bool {
        self.written >= LIMIT
    }

    pub(super) async fn write(&mut self, data: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            // /tmp is often memory, which is what this is to save.
            None => self.file.insert(File::from_std(
                tempfile::tempfile_in("/var/tmp").or_else(|_| tempfile::tempfile())?,
            )),
        };
        file.seek(SeekFrom::Start(self.written)).await?;
        file.write_all(data).await?;
        file.flush().await?;
        self.written += data.len() as u64;
        Ok(())
    }

    /// The next bytes in line. The file goes away when it is read to its end.
    pub(super) async fn read(&mut self) -> io::Result<Bytes> {
        let Some(file) = &mut self.file else {
            return Ok(Bytes::new());
        };
        let count = (self.written - self.read).min(PIECE);
        let mut piece = vec![0; count as usize];
        file.seek(SeekFrom::Start(self.read)).await?;
        file.read_exact(&mut piece).await?;
        self.read += count;
        if self.is_empty() {
            *self = Overflow::default();
        }
        Ok(piece.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_come_back_in_order() {
        let mut overflow = Overflow::default();
        assert!(overflow.is_empty());
        let all: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        let (first, second) = all.split_at(100_000);
        overflow.write(first).await.unwrap();
        let mut back = overflow.read().await.unwrap().to_vec();
        overflow.write(second).await.unwrap();
        while !overflow.is_empty() {
            back.extend(overflow.read().await.unwrap());
        }
        assert_eq!(back, all);
        assert!(overflow.file.is_none());
    }
}
