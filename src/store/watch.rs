//! Hearing of files that are put in place.

use std::ffi::OsString;
use std::path::Path;

use futures_util::StreamExt;
use inotify::{EventStream, Inotify, WatchMask};

use super::{Error, Result};

/// Tells of files that are renamed into some folders, which is how every file of berth's is written.
pub struct Watch {
    events: EventStream<[u8; 4096]>,
}

impl Watch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// If the user has no watches left (inotify(7)).
    pub fn new() -> Result<Self> {
        let events = Inotify::init().and_then(|inotify| inotify.into_event_stream([0; 4096]));
        Ok(Watch {
            events: events.map_err(Error::io("inotify"))?,
        })
    }

    /// Watches a folder too; again is fine.
    ///
    /// # Errors
    /// If it is not there, or the user has no watches left.
    pub fn folder(&mut self, path: &Path) -> Result<()> {
        let added = self.events.watches().add(path, WatchMask::MOVED_TO);
        added.map(drop).map_err(Error::io(path))
    }

    /// The name of the next file that is put in place; empty if the system lost count of them.
    pub async fn next(&mut self) -> OsString {
        match self.events.next().await {
            Some(Ok(event)) => event.name.unwrap_or_default(),
            // It tells nothing any more: whoever waits has a deadline.
            _ => std::future::pending().await,
        }
    }
}
