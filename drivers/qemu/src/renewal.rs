//! The program that waits in a frozen guest, and makes it another machine.

use std::time::Duration;

use berth_driver_api::{Error, Machine, Rest, Result, thaw};
use tokio::net::UnixStream;

use crate::call::{CallError, within};
use crate::lines::Lines;
use crate::names::RENEW_SOCKET;

/// How long it may take; an emulated guest on a busy computer is slow.
const DEADLINE: Duration = Duration::from_secs(120);

/// The guest says one line (bytes).
const LONGEST_LINE: usize = 4 << 10;

/// As much of its words is shown (characters).
const LONGEST_REASON: usize = 500;

/// The host's end of the line to it.
pub(crate) struct Waiting(Lines);

impl Waiting {
    /// Connects. In a guest whose port has a connection at its host's end the program waits, and in one that goes on it
    /// waits still if the port has one again.
    pub(crate) async fn connect(machine: &Machine) -> Result<Self> {
        let stream = UnixStream::connect(machine.socket(RENEW_SOCKET)).await;
        let stream = stream.map_err(|error| Error::failed("connecting to the guest", error))?;
        Ok(Waiting(Lines::new(stream, LONGEST_LINE)))
    }

    /// Hands over who the guest is to be, and returns when it is.
    pub(crate) async fn become_another(&mut self, words: &str) -> Result<(), CallError> {
        self.0.queue(words.as_bytes());
        let line = within(DEADLINE, "the renewal", self.0.next()).await?;
        let line = String::from_utf8_lossy(&line);
        if line == thaw::DONE {
            return Ok(());
        }
        Err(CallError::Refused {
            command: "the renewal",
            reason: line
                .chars()
                .filter(|c| !c.is_control())
                .take(LONGEST_REASON)
                .collect(),
        })
    }

    /// The program does what is left when the connection ends.
    pub(crate) fn rest(self) -> Rest {
        Rest::until_dropped(self.0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn answered(answer: &'static str) -> Result<(), CallError> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            let mut words = [0; 4];
            theirs.read_exact(&mut words).await.unwrap();
            theirs.write_all(answer.as_bytes()).await.unwrap();
        });
        let mut waiting = Waiting(Lines::new(ours, LONGEST_LINE));
        waiting.become_another("end\n").await
    }

    #[tokio::test]
    async fn a_guest_that_stayed_who_it_was_says_why() {
        answered("done\n").await.unwrap();
        let refused = answered("failed: no\x1b[2J card\n").await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the renewal was refused: failed: no[2J card"
        );
        let gone = answered("").await.unwrap_err();
        assert!(matches!(gone, CallError::Closed), "{gone}");
    }
}
