//! The journal of the operation under way on a machine.
//!
//! A line is written and synced before a step begins and after it is done, so that after a crash it is known which
//! resources may exist. The journal of a finished operation is replaced when the next one begins.

use std::fs::{self, OpenOptions};
use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::{self, Error, Result};

/// No journal comes near this size (bytes).
const MAX_SIZE: u64 = 1 << 20;

/// One line.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    at: Timestamp,
    operation: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    event: Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Event {
    Begin,
    Done,
    Failed,
    End,
}

/// An operation that began and has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// `create`, `start`, `stop`, `rm`, …
    pub operation: String,
    /// The step that was reached last.
    pub step: Option<String>,
    /// Why it failed, if it did not just break off.
    pub failure: Option<String>,
}

/// Writes the journal of one operation. Whoever has it holds the machine's lock.
pub struct Journal {
    path: PathBuf,
    operation: String,
    done: Vec<String>,
}

impl Journal {
    /// Begins `operation`; if it is the one that broke off here, its finished steps count.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn begin(path: &Path, operation: &str) -> Result<Self> {
        let entries = read(path)?;
        let resumes = pending_of(&entries).is_some_and(|pending| pending.operation == operation);
        let done = entries
            .into_iter()
            .filter(|entry| resumes && entry.event == Event::Done)
            .filter_map(|entry| entry.step)
            .collect();
        let journal = Journal {
            path: path.to_owned(),
            operation: operation.to_owned(),
            done,
        };
        if !resumes {
            let line = journal.line(None, Event::Begin, None)?;
            match store::write_private(path, &line) {
                // The old journal's own space is enough, and a full disk must not keep machines from being removed.
                Err(Error::Io { source, .. }) if source.kind() == ErrorKind::StorageFull => {
                    fs::write(path, &line).map_err(Error::io(path))?;
                }
                other => other?,
            }
        }
        Ok(journal)
    }

    /// Does a step, or skips it if it was done before the operation broke off.
    ///
    /// # Errors
    /// Those of `work`, noted in the journal, and those of writing it.
    pub async fn once<E: From<Error> + std::fmt::Display>(
        &mut self,
        step: &str,
        work: impl Future<Output = std::result::Result<(), E>>,
    ) -> std::result::Result<(), E> {
        if self.done.iter().any(|done| done == step) {
            return Ok(());
        }
        self.always(step, work).await
    }

    /// Does a step, again if need be: for what a crash undoes, such as a started VM.
    ///
    /// # Errors
    /// As [`Journal::once`].
    pub async fn always<T, E: From<Error> + std::fmt::Display>(
        &mut self,
        step: &str,
        work: impl Future<Output = std::result::Result<T, E>>,
    ) -> std::result::Result<T, E> {
        self.append(Some(step), Event::Begin, None)?;
        die_here_if_told(&self.operation, step, "begin");
        match work.await {
            Ok(value) => {
                die_here_if_told(&self.operation, step, "work");
                self.append(Some(step), Event::Done, None)?;
                self.done.push(step.to_owned());
                die_here_if_told(&self.operation, step, "done");
                Ok(value)
            }
            Err(error) => {
                self.failed(step, &error);
                Err(error)
            }
        }
    }

    /// Notes that a step of a library's own is reached.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn reached(&self, step: &str) -> Result<()> {
        self.append(Some(step), Event::Begin, None)?;
        die_here_if_told(&self.operation, step, "begin");
        Ok(())
    }

    /// Notes that a step of a library's own failed.
    pub fn failed(&self, step: &str, error: &impl std::fmt::Display) {
        // The failure itself matters more than a failure to note it.
        let _ = self.append(Some(step), Event::Failed, Some(error.to_string()));
    }

    /// Ends the operation.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn end(self) -> Result<()> {
        self.append(None, Event::End, None)
    }

    fn line(&self, step: Option<&str>, event: Event, detail: Option<String>) -> Result<Vec<u8>> {
        let entry = Entry {
            at: Timestamp::now(),
            operation: self.operation.clone(),
            step: step.map(str::to_owned),
            event,
            detail,
        };
        let mut line = serde_json::to_vec(&entry).map_err(|error| Error::Damaged {
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        line.push(b'\n');
        Ok(line)
    }

    fn append(&self, step: Option<&str>, event: Event, detail: Option<String>) -> Result<()> {
        let line = self.line(step, event, detail)?;
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
            .map_err(Error::io(&self.path))?;
        file.write_all(&line)
            .and_then(|()| file.sync_data())
            .map_err(Error::io(&self.path))
    }
}

/// The operation that began in this journal and did not end.
///
/// # Errors
/// If the journal is there but cannot be read.
pub fn pending(path: &Path) -> Result<Option<Pending>> {
    Ok(pending_of(&read(path)?))
}

fn pending_of(entries: &[Entry]) -> Option<Pending> {
    let last = entries.last()?;
    if last.event == Event::End {
        return None;
    }
    Some(Pending {
        operation: last.operation.clone(),
        step: last.step.clone(),
        failure: last.detail.clone().filter(|_| last.event == Event::Failed),
    })
}

/// Lines that a crash cut short are passed over: what they would have told had not begun.
fn read(path: &Path) -> Result<Vec<Entry>> {
    let mut bytes = Vec::new();
    match fs::File::open(path) {
        Ok(file) => file
            .take(MAX_SIZE)
            .read_to_end(&mut bytes)
            .map_err(Error::io(path))?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(path)(error)),
    };
    Ok(bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

/// In debug builds a test can have berth killed at any journaled point: `BERTH_DIE_AT=create:disk:begin`.
#[cfg(debug_assertions)]
pub(crate) fn die_here_if_told(operation: &str, step: &str, point: &str) {
    if std::env::var("BERTH_DIE_AT").is_ok_and(|at| at == format!("{operation}:{step}:{point}")) {
        // The same end as `kill -9`: nothing runs after it.
        let _ = nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::Signal::SIGKILL);
        std::process::abort();
    }
}

#[cfg(not(debug_assertions))]
pub(crate) fn die_here_if_told(_operation: &str, _step: &str, _point: &str) {}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ok() -> Result<()> {
        Ok(())
    }

    #[tokio::test]
    async fn an_operation_that_broke_off_goes_on_after_its_last_finished_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::begin(&path, "create").unwrap();
        journal.once("keys", ok()).await.unwrap();
        journal.append(Some("disk"), Event::Begin, None).unwrap();
        drop(journal);
        let left = pending(&path).unwrap().unwrap();
        assert_eq!(
            (left.operation.as_str(), left.step.as_deref()),
            ("create", Some("disk"))
        );

        let mut again = Journal::begin(&path, "create").unwrap();
        again
            .once::<Error>("keys", async { panic!("done before") })
            .await
            .unwrap();
        again.once("disk", ok()).await.unwrap();
        again.end().unwrap();
        assert_eq!(pending(&path).unwrap(), None);
    }

    #[tokio::test]
    async fn another_operation_starts_afresh_and_a_cut_line_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::begin(&path, "create").unwrap();
        journal.once("keys", ok()).await.unwrap();
        fs::write(
            &path,
            [fs::read(&path).unwrap(), b"{\"at\":\"20".to_vec()].concat(),
        )
        .unwrap();
        assert_eq!(
            pending(&path).unwrap().unwrap().step.as_deref(),
            Some("keys")
        );
        Journal::begin(&path, "rm").unwrap();
        assert_eq!(pending(&path).unwrap().unwrap().operation, "rm");
    }

    #[tokio::test]
    async fn a_failure_is_kept_with_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::begin(&path, "start").unwrap();
        let failed = journal
            .always::<(), _>("power", async { Err(Error::NoHome) })
            .await;
        assert!(failed.is_err());
        assert!(
            pending(&path)
                .unwrap()
                .unwrap()
                .failure
                .unwrap()
                .contains("home")
        );
    }
}
