//! Hearing of files that are put in place.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventStream, Inotify, WatchMask};
use nix::errno::Errno;

use super::{Error, Result};

/// So often somebody looks who hears of nothing.
const LOOK: Duration = Duration::from_secs(1);

/// Tells of files that are renamed into some folders, which is how every file of berth's is written.
pub struct Watch {
    /// None where the user has no instance left: 128 are usual, and each running machine takes two.
    events: Option<EventStream<[u8; 4096]>>,
}

impl Watch {
    /// Watches nothing yet. Where the user has no more instances of it (inotify(7)), it has whoever waits look again
    /// every second.
    ///
    /// # Errors
    /// If the system has no room for it.
    pub fn new() -> Result<Self> {
        let events = Inotify::init().and_then(|inotify| inotify.into_event_stream([0; 4096]));
        let events = match events {
            Ok(events) => Some(events),
            Err(error) if error.raw_os_error() == Some(Errno::EMFILE as i32) => {
                tracing::debug!("no inotify instance is left: files are looked at instead");
                None
            }
            Err(error) => return Err(Error::io("inotify")(error)),
        };
        Ok(Watch { events })
    }

    /// Watches a folder too; again is fine.
    ///
    /// # Errors
    /// If it is not there, or the user has no watches left.
    pub fn folder(&mut self, path: &Path) -> Result<()> {
        let Some(events) = &mut self.events else {
            return Ok(());
        };
        let added = events.watches().add(path, WatchMask::MOVED_TO);
        added.map(drop).map_err(Error::io(path))
    }

    /// The name of the next file that is put in place; empty if it may be any.
    pub async fn next(&mut self) -> OsString {
        let Some(events) = &mut self.events else {
            tokio::time::sleep(LOOK).await;
            return OsString::new();
        };
        match events.next().await {
            Some(Ok(event)) => event.name.unwrap_or_default(),
            // It tells nothing any more: whoever waits has a deadline.
            _ => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_no_instance_left_looks_again() {
        let mut watch = Watch { events: None };
        watch.folder(Path::new("/")).unwrap();
        assert_eq!(watch.next().await, "");
    }
}
