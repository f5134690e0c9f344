//! Hearing from the guest that it is up. The guest writes words, one a line, to a port whose other end is a file in
//! the machine's folder: `ssh` when its SSH server listens, `engine` when its container engine answers.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventStream, Inotify, WatchMask};
use nix::errno::Errno;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{Address, Error, Result};

/// The guest's SSH server listens.
pub const SSH: &str = "ssh";

/// The guest's container engine answers.
pub const ENGINE: &str = "engine";

/// So often somebody looks who cannot watch.
const LOOK: Duration = Duration::from_millis(100);

/// What the guest writes is looked at up to here.
const LONGEST: u64 = 64 << 10;

/// The words that a guest has written so far, and a watch on their growing.
pub struct Words {
    ready: PathBuf,
    /// None where the user has no instance of inotify left (inotify(7)): 128 are usual.
    changes: Option<EventStream<[u8; 1024]>>,
}

impl Words {
    /// Watches the file `ready`, and `others` beside it that may tell why no word comes.
    ///
    /// # Errors
    /// If a file is not there or cannot be watched.
    pub fn watch(ready: PathBuf, others: &[&Path]) -> Result<Words> {
        let inotify = match Inotify::init() {
            Ok(inotify) => inotify,
            Err(error) if error.raw_os_error() == Some(Errno::EMFILE as i32) => {
                let changes = None;
                return Ok(Words { ready, changes });
            }
            Err(error) => return Err(Error::io(&ready)(error)),
        };
        for file in others.iter().chain([&ready.as_path()]) {
            inotify
                .watches()
                .add(file, WatchMask::MODIFY)
                .map_err(Error::io(file))?;
        }
        let changes = inotify
            .into_event_stream([0; 1024])
            .map_err(Error::io(&ready))?;
        let changes = Some(changes);
        Ok(Words { ready, changes })
    }

    /// Whether the guest has said `word`. No word falls between this and [`Words::changed`].
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn contain(&self, word: &str) -> Result<bool> {
        let mut bytes = Vec::new();
        File::open(&self.ready)
            .and_then(|file| file.take(LONGEST).read_to_end(&mut bytes))
            .map_err(Error::io(&self.ready))?;
        Ok(says(&bytes, word))
    }

    /// Returns when the guest has said `word`.
    ///
    /// # Errors
    /// As [`Words::contain`] and [`Words::changed`].
    pub async fn hear(&mut self, word: &str) -> Result<()> {
        while !self.contain(word)? {
            self.changed().await?;
        }
        Ok(())
    }

    /// Returns when one of the files has changed since the watch was set or this last returned.
    ///
    /// # Errors
    /// If the watch fails.
    pub async fn changed(&mut self) -> Result<()> {
        let Some(changes) = &mut self.changes else {
            tokio::time::sleep(LOOK).await;
            return Ok(());
        };
        match changes.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(Error::io(&self.ready)(error)),
            None => tokio::time::sleep(Duration::from_secs(1)).await,
        }
        Ok(())
    }
}

/// How long an SSH server may take to greet; emulated ones take seconds. A forwarded port takes connections before the
/// guest does, and keeps them waiting.
const GREETING: Duration = Duration::from_secs(10);

/// Whether an SSH server greets at `address` (RFC 4253, section 4.2), by one attempt.
pub async fn greets(address: &Address) -> bool {
    let attempt = async {
        let host = (address.host.as_str(), address.port);
        let mut stream = TcpStream::connect(host).await.ok()?;
        let mut start = [0; 4];
        stream.read_exact(&mut start).await.ok()?;
        (start == *b"SSH-").then_some(())
    };
    matches!(timeout(GREETING, attempt).await, Ok(Some(())))
}

/// Whole lines only: a word that is still being written has no end yet.
fn says(bytes: &[u8], word: &str) -> bool {
    let complete = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    bytes
        .get(..complete)
        .unwrap_or_default()
        .split(|byte| *byte == b'\n')
        .any(|line| line.trim_ascii() == word.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_word_is_heard_by_who_has_no_instance_left() {
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready");
        std::fs::write(&ready, "").unwrap();
        let mut words = Words {
            ready: ready.clone(),
            changes: None,
        };
        let said = async {
            tokio::time::sleep(LOOK).await;
            std::fs::write(&ready, "ssh\n").unwrap();
        };
        let (heard, ()) = tokio::join!(words.hear(SSH), said);
        heard.unwrap();
    }

    #[test]
    fn only_whole_lines_count() {
        assert!(says(b"ssh\n", "ssh"));
        assert!(says(b"noise\nssh\r\nengine\n", "ssh"));
        assert!(!says(b"ssh", "ssh"));
        assert!(!says(b"\nssh", "ssh"));
        assert!(!says(b"sshd\nxssh\n", "ssh"));
        assert!(!says(b"", "ssh"));
    }
}
