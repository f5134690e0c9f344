//! Commands that ask the engines of many machines at once: `berth ps`, `images`, `stats`, `df`, `events`, and containers'
//! logs. One that does not answer holds up nobody: it is a line on stderr, and the exit code says so.

pub mod df;
pub mod events;
pub mod images;
pub mod logs;
pub mod ps;
pub mod stats;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use berth_driver_api::State;
use berth_provision::engine::Engine;
use futures_util::StreamExt;
use serde::Serialize;

use super::error::Usage;
use super::fleet_args::seconds;
use super::report;
use super::words::PARTLY_FAILED;
use crate::fleet::{Bounds, Fate, Selection, Stop, crew, default_parallel, pick, select};
use crate::machine::{self, Berth, ask_all, reach_engine};

/// Which machines, and how long each may take.
#[derive(Debug, Clone, clap::Args)]
pub struct Asking {
    #[command(flatten)]
    selection: Selection,

    /// How long a machine's engine may take to answer, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    timeout: Duration,
}

/// A row and the machine that it is from.
#[derive(Debug, Serialize)]
pub struct Of<T> {
    /// The machine's name.
    pub machine: String,
    /// What its engine says.
    #[serde(flatten)]
    pub row: T,
}

/// What all machines answered.
pub struct Answers<T> {
    /// Their rows, in the order of the machines.
    pub rows: Vec<Of<T>>,
    failures: Vec<Error>,
}

impl<T> Answers<T> {
    /// Tells of those that did not answer; the exit code.
    pub fn end(self) -> ExitCode {
        end(&self.failures)
    }
}

/// Tells why machines did not answer; the exit code.
fn end(failures: &[Error]) -> ExitCode {
    for failure in failures {
        report::print(failure);
    }
    match failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(PARTLY_FAILED),
    }
}

impl Asking {
    /// The machines: those that are selected, or else all that have an engine and are not off.
    ///
    /// # Errors
    /// As [`select`].
    pub async fn machines(&self, berth: &Berth) -> Result<Vec<String>> {
        if !self.selection.is_empty() {
            return Ok(select(berth, &self.selection, super::ASK_DEADLINE).await?);
        }
        let names = pick(berth, &self.selection, super::ASK_DEADLINE).await?;
        let rows = ask_all(berth, &names, super::ASK_DEADLINE).await;
        // What cannot be asked at all is told of, as a machine that may be at work.
        let counts = |row: &machine::Row| {
            let off = matches!(
                row.state,
                State::Stopped | State::Suspended | State::Missing | State::Creating
            );
            let engine = row.endpoint.is_some() || row.state == State::Error;
            !off && engine
        };
        let some = rows.into_iter().filter(counts);
        Ok(some.map(|row| row.name).collect())
    }

    /// The machine, for what is about one only.
    ///
    /// # Errors
    /// [`Usage`] if it is not just one that is named.
    pub fn one_machine(&self) -> Result<String> {
        match self.selection.names.as_slice() {
            [name] if self.selection.is_names_only() => Ok(name.clone()),
            _ => Err(
                Usage("name one machine: only with --container may there be many".into()).into(),
            ),
        }
    }

    /// Asks every machine's engine, all at once.
    pub async fn ask<T>(
        &self,
        berth: &Berth,
        names: &[String],
        question: impl AsyncFn(&Engine) -> berth_provision::Result<Vec<T>>,
    ) -> Answers<T> {
        let bounds = Bounds {
            parallel: default_parallel(),
            timeout: Some(self.timeout),
            deadline: None,
            stop: Stop::default(),
        };
        let question = &question;
        let one = |_, name| async move {
            let engine = reach_engine(berth, name, self.timeout).await?;
            let answer = question(&engine).await;
            answer.map_err(machine::Error::provision(name))
        };
        let mut ended: Vec<_> = crew(names, &bounds, one).collect().await;
        ended.sort_by_key(|ended| ended.at);
        let mut answers = Answers {
            rows: Vec::new(),
            failures: Vec::new(),
        };
        for ended in ended {
            let machine = ended.name;
            match ended.fate {
                Fate::Done(Ok(rows)) => answers.rows.extend(rows.into_iter().map(|row| Of {
                    machine: machine.clone(),
                    row,
                })),
                Fate::Done(Err(error)) => answers.failures.push(error.into()),
                Fate::TimedOut(after) => answers.failures.push(no_answer(&machine, after)),
                Fate::Late { .. } | Fate::Interrupted { .. } => {
                    answers.failures.push(no_answer(&machine, self.timeout));
                }
            }
        }
        answers
    }
}

fn no_answer(machine: &str, after: Duration) -> Error {
    anyhow!(
        "machine {machine}: its engine did not answer within {} s",
        after.as_secs_f64()
    )
}

/// A size as people read it.
fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            return match unit {
                "B" => format!("{bytes} B"),
                _ => format!("{size:.1} {unit}"),
            };
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

/// How long ago something was, in the largest unit of which it is at least two.
fn ago(since: i64) -> String {
    let seconds = jiff::Timestamp::now()
        .as_second()
        .saturating_sub(since)
        .max(0);
    for (unit, length) in [("days", 86_400), ("hours", 3_600), ("minutes", 60)] {
        if seconds >= 2 * length {
            return format!("{} {unit}", seconds / length);
        }
    }
    format!("{seconds} seconds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_short() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(u64::MAX), "16777216.0 TiB");
        let now = jiff::Timestamp::now().as_second();
        assert_eq!(ago(now - 119), "119 seconds");
        assert_eq!(ago(now - 3 * 86_400), "3 days");
        assert_eq!(ago(now + 50), "0 seconds");
    }
}
