//! What an engine goes on telling: its events, and what containers write.

use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Duration, timeout};

use super::Engine;
use super::look::word;
use crate::{Error, Result};

/// An event that is longer, in bytes, is left out.
const LONGEST_EVENT: usize = 1 << 20;

/// The longest frame of a log: a line of 16 KiB is broken by the engine itself.
const LONGEST_FRAME: usize = 1 << 20;

/// Something that happened. Field names are those of `berth events --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Happened {
    /// In nanoseconds since 1970.
    pub time: i64,
    /// To what: `container`, `image`, `network`, …
    pub kind: String,
    /// What: `start`, `die`, …
    pub action: String,
    /// Its id.
    pub id: String,
    /// Its name, if it has one.
    pub name: String,
}

/// Which events: from when on and until when, in seconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
pub struct Period {
    /// The first; without it from now on.
    pub since: Option<i64>,
    /// The last; without it there is no end.
    pub until: Option<i64>,
}

/// Which part of a log.
#[derive(Debug, Clone, Copy)]
pub struct LogWish {
    /// Go on with what comes.
    pub follow: bool,
    /// The last so many lines; without it all.
    pub tail: Option<u32>,
    /// How long the engine may take to begin.
    pub patience: Duration,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Event {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "Action")]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
    #[serde(rename = "timeNano")]
    time: i64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Attributes")]
    attributes: serde_json::Map<String, Value>,
}

impl Event {
    fn happened(self) -> Happened {
        let name = self.actor.attributes.get("name").and_then(Value::as_str);
        Happened {
            time: self.time,
            kind: word(&self.kind),
            action: word(&self.action),
            id: word(&self.actor.id),
            name: word(name.unwrap_or_default()),
        }
    }
}

/// Complete lines out of pieces; one that is too long is dropped.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
    too_long: bool,
}

impl Lines {
    fn push(&mut self, piece: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            match self.too_long || self.rest.len() + part.len() > LONGEST_EVENT {
                true => self.too_long = true,
                false => self.rest.extend_from_slice(part),
            }
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.rest);
                if !std::mem::take(&mut self.too_long) {
                    lines.push(line);
                }
            }
        }
        lines
    }
}

impl Engine {
    /// What happens, as it happens.
    ///
    /// # Errors
    /// [`Error::Engine`] if the engine does not answer.
    pub async fn happenings(
        &self,
        period: Period,
    ) -> Result<impl Stream<Item = Happened> + Send + Unpin + use<>> {
        let mut path = String::from("/events?");
        for (key, time) in [("since", period.since), ("until", period.until)] {
            if let Some(time) = time {
                path += &format!("{key}={time}&");
            }
        }
        let mut lines = Lines::default();
        let pieces = self.stream(&path).await?;
        let events = pieces.flat_map(move |piece| {
            let events = lines.push(&piece).into_iter().filter_map(|line| {
                let event: Event = serde_json::from_slice(&line).ok()?;
                Some(event.happened())
            });
            futures_util::stream::iter(events.collect::<Vec<_>>())
        });
        Ok(Box::pin(events))
    }

    /// Copies what a container wrote, and writes.
    ///
    /// # Errors
    /// [`Error::Engine`] if the engine does not begin to answer, or sends what is no log. What cannot be written ends it
    /// quietly: nobody reads any more.
    pub async fn logs(
        &self,
        container: &str,
        wish: &LogWish,
        mut out: impl AsyncWrite + Unpin,
        mut err: impl AsyncWrite + Unpin,
    ) -> Result<()> {
        #[derive(Deserialize)]
        struct About {
            #[serde(rename = "Config")]
            config: Config,
        }
        #[derive(Deserialize)]
        struct Config {
            #[serde(rename = "Tty")]
            tty: bool,
        }
        let id: String = container
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let tail = wish
            .tail
            .map_or("all".to_owned(), |lines| lines.to_string());
        let path = format!(
            "/containers/{id}/logs?stdout=true&stderr=true&follow={}&tail={tail}",
            wish.follow
        );
        let begun = async {
            let about: About = self.get(&format!("/containers/{id}/json")).await?;
            Ok::<_, Error>((about.config.tty, self.stream(&path).await?))
        };
        let begun = timeout(wish.patience, begun).await;
        let late = |_| self.socket.failed("does not answer", &"it took too long");
        let (tty, mut pieces) = begun.map_err(late)??;
        let mut frames = Frames::default();
        while let Some(piece) = pieces.next().await {
            if tty {
                if out.write_all(&piece).await.is_err() {
                    return Ok(());
                }
                continue;
            }
            let Some(frames) = frames.push(&piece) else {
                return Err(self.socket.failed("sends what is no log", &id));
            };
            for (is_error, bytes) in frames {
                let written = match is_error {
                    true => err.write_all(&bytes).await,
                    false => out.write_all(&bytes).await,
                };
                if written.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Frames of two streams in one: a byte that tells which, three zeros, the length, the bytes.
/// <https://docs.docker.com/reference/api/engine/>, "Attach to a container".
#[derive(Default)]
struct Frames {
    rest: Vec<u8>,
}

impl Frames {
    /// Those that are complete, with whether each is of stderr; `None` if these are no frames.
    fn push(&mut self, piece: &[u8]) -> Option<Vec<(bool, Vec<u8>)>> {
        self.rest.extend_from_slice(piece);
        let mut frames = Vec::new();
        let mut at = 0;
        while let Some([kind, 0, 0, 0, a, b, c, d]) = self.rest.get(at..at + 8) {
            let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).ok()?;
            if *kind > 2 || length > LONGEST_FRAME {
                return None;
            }
            let Some(bytes) = self.rest.get(at + 8..at + 8 + length) else {
                break;
            };
            frames.push((*kind == 2, bytes.to_vec()));
            at += 8 + length;
        }
        self.rest.drain(..at);
        // A header that is there and none of a frame.
        let broken = self.rest.get(1..4).is_some_and(|zeros| zeros != [0, 0, 0]);
        (!broken).then_some(frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_pieces_and_monsters_are_left_out() {
        let mut lines = Lines::default();
        assert!(lines.push(b"{\"a\":").is_empty());
        assert_eq!(
            lines.push(b"1}\n{}\n{"),
            [b"{\"a\":1}\n".to_vec(), b"{}\n".to_vec()]
        );
        for _ in 0..20 {
            assert!(lines.push(&[b'x'; 100_000]).is_empty());
            assert!(lines.rest.len() <= LONGEST_EVENT);
        }
        assert_eq!(lines.push(b"\nok\n"), [b"ok\n".to_vec()]);
    }

    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        let bytes = b"\x01\0\0\0\0\0\0\x03one\x02\0\0\0\0\0\0\x03two";
        for cut in 0..bytes.len() {
            let mut frames = Frames::default();
            let mut all = frames.push(&bytes[..cut]).unwrap();
            all.extend(frames.push(&bytes[cut..]).unwrap());
            assert_eq!(
                all,
                [(false, b"one".to_vec()), (true, b"two".to_vec())],
                "{cut}"
            );
        }
        for bad in [
            &b"HTTP/1.1 200"[..],
            b"\x09\0\0\0\0\0\0\x01a",
            b"\x01\0\0\0\xff\xff\xff\xff",
        ] {
            assert_eq!(Frames::default().push(bad), None);
        }
    }
}
