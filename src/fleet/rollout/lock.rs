//! The lock on the machine itself, by which two operators' computers keep out of each other's way.
//!
//! It is flock(2) on a file of the machine's, held by a shell at the other end of our connection: whatever becomes of us,
//! it is given up when that shell loses its input, or has heard nothing for a while. The file says who has it.

use std::fmt;
use std::time::Duration;

use berth_provision::ssh::{Session, quote};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::error::{Error, Result};
use super::plan::Plan;
use crate::machine;

/// How long a machine may take to answer.
const ANSWER: Duration = Duration::from_secs(60);

/// How often the holder is heard of.
const BEAT: Duration = Duration::from_secs(20);

/// A holder that is not heard of for so many seconds is given up: its computer, or the way to it, is gone.
const SILENCE: u32 = 120;

/// The longest answer that is read, in bytes.
const ANSWER_LIMIT: u64 = 4096;

/// Who has a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// `user@computer`.
    pub owner: String,
    /// Since when.
    pub since: Timestamp,
    /// The rollout's name, on that computer.
    pub rollout: String,
    /// What it does, in a word.
    pub what: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |text: &str| {
            let plain = text.chars().filter(|c| !c.is_control());
            plain.take(80).collect::<String>()
        };
        write!(
            f,
            "{} has it since {:.0} ({}, rollout {})",
            plain(&self.owner),
            self.since,
            plain(&self.what),
            plain(&self.rollout)
        )
    }
}

impl Holder {
    /// Us.
    pub fn of(plan: &Plan) -> Self {
        Holder {
            owner: plan.owner.clone(),
            since: plan.began,
            rollout: plan.id.clone(),
            what: plan.task.word().to_owned(),
        }
    }
}

/// A machine that is ours until this is dropped, or the connection ends.
#[derive(Debug)]
pub struct Guard {
    session: Session,
    beating: JoinHandle<()>,
}

impl Guard {
    /// Takes the machine behind a connection.
    ///
    /// # Errors
    /// [`Error::Held`] with who has it; [`Error::Unlockable`].
    pub async fn take(session: Session, machine: &str, holder: &Holder) -> Result<Self> {
        let unlockable = |why: &dyn fmt::Display| Error::Unlockable {
            machine: machine.to_owned(),
            why: why.to_string(),
        };
        let words = serde_json::to_string(holder).map_err(|error| unlockable(&error))?;
        let opened = session.open_command(&script(&words)).await;
        let mut stream = opened.map_err(machine::Error::provision(machine))?;
        let mut answer = Vec::new();
        let reading = async {
            let mut stream = (&mut stream).take(ANSWER_LIMIT);
            while !answer.contains(&b'\n') {
                if stream.read_buf(&mut answer).await? == 0 {
                    break;
                }
            }
            std::io::Result::Ok(())
        };
        match timeout(ANSWER, reading).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(unlockable(&error)),
            Err(_) => return Err(unlockable(&"it does not answer")),
        }
        let answer = String::from_utf8_lossy(&answer);
        let answer = answer.lines().next().unwrap_or_default();
        if answer != "taken" {
            return Err(match serde_json::from_str::<Holder>(answer) {
                Ok(holder) => Error::Held {
                    machine: machine.to_owned(),
                    holder: Box::new(holder),
                },
                Err(_) if answer.is_empty() => unlockable(&"its shell ended"),
                Err(_) => unlockable(&answer.chars().take(200).collect::<String>()),
            });
        }
        let beating = tokio::spawn(async move {
            loop {
                tokio::time::sleep(BEAT).await;
                if stream.write_all(b".").await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
        });
        Ok(Guard { session, beating })
    }

    /// The connection that holds it, which other work may use too.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// True if the machine is ours no more.
    pub fn is_lost(&self) -> bool {
        self.session.is_closed() || self.beating.is_finished()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

/// A shell that takes the lock, says so or who has it, and holds it for as long as it is heard.
///
/// With root's rights the lock is one for all who log in; without them, one for each user. The folder is not one that
/// everyone may write to, so that nobody can put a link in its place. `BERTH_LOCKS` of root's own environment names another
/// one, for machines that share a file system.
fn script(words: &str) -> String {
    let hold = format!(
        "d=$HOME/.berth; [ \"$(id -u)\" != 0 ] || d=${{BERTH_LOCKS:-/run/berth}}; umask 022; \
         command -v flock >/dev/null || {{ echo 'flock is not installed there'; exit; }}; \
         mkdir -p \"$d\" 2>/dev/null; (: >>\"$d/rollout\") 2>/dev/null || {{ echo \"$d cannot be written\"; exit; }}; \
         exec 9>>\"$d/rollout\"; \
         if ! flock -n 9; then head -c 2048 \"$d/rollout\"; exit; fi; \
         printf '%s\\n' {words} >\"$d/rollout\"; echo taken; \
         while [ -n \"$(timeout {SILENCE} head -c 1)\" ]; do :; done",
        words = quote(words),
    );
    let hold = quote(&hold);
    format!(
        "if [ \"$(id -u)\" != 0 ]; then for s in sudo doas; do \
         if $s -n true 2>/dev/null; then exec $s -n sh -c {hold}; fi; done; fi; exec sh -c {hold}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_one_for_a_shell() {
        let script = script("{\"owner\":\"it's me\"}");
        let read = std::process::Command::new("sh")
            .args(["-n", "-c", &script])
            .output();
        assert!(read.unwrap().status.success(), "{script}");
    }

    #[test]
    fn a_holder_cannot_write_to_the_terminal() {
        let holder = Holder {
            owner: "me\u{1b}[2J@here".into(),
            since: Timestamp::UNIX_EPOCH,
            rollout: "1\n2".into(),
            what: "x".repeat(500),
        };
        let told = holder.to_string();
        assert!(
            !told.contains(char::is_control) && told.len() < 300,
            "{told}"
        );
    }
}
