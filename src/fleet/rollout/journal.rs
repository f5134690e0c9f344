//! What became of each machine so far, written down as it happens.
//!
//! A line is written and synced before a machine's work begins and after it has ended. What was begun and has no end
//! broke off; it is done again by whoever goes on.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::plan::Plan;
use crate::machine::die_here_if_told;
use crate::store::{Error, Result};

/// No journal comes near this size (bytes): a million machines make a few hundred megabytes.
const MAX_SIZE: u64 = 1 << 30;

/// No reason is kept longer, in characters.
const MAX_WHY: usize = 2000;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A machine's work begins.
    Begin,
    /// It was done.
    Done,
    /// It was not.
    Failed,
    /// It was cut off by the user.
    Cut,
    /// Its node is emptied, as far as its swarm can.
    Drained,
    /// Its node takes containers again.
    Active,
    /// A machine begins to go back to what it had.
    BackBegin,
    /// It has what it had.
    Back,
    /// It could not be brought back.
    BackFailed,
    /// Nothing more is begun for now.
    Stopped,
    /// All machines are done with.
    Finished,
    /// It will not go on.
    Aborted,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    at: Timestamp,
    event: Event,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    machine: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// How a machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its turn has not come.
    Waiting,
    /// It was begun, and no end is known.
    Begun,
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// Cut off by the user.
    Cut,
    /// It has what it had before.
    Back,
    /// It should have what it had before, and does not.
    BackFailed,
}

impl State {
    /// The state's word.
    pub fn word(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Begun => "begun",
            State::Done => "done",
            State::Failed => "failed",
            State::Cut => "cut off",
            State::Back => "taken back",
            State::BackFailed => "not taken back",
        }
    }
}

/// How a machine fared.
#[derive(Debug, Clone, PartialEq)]
pub struct Fared {
    /// How it stands.
    pub state: State,
    /// How long its work took, in seconds.
    pub seconds: Option<f64>,
    /// Why it failed; or what it was found to need no more.
    pub why: Option<String>,
    /// Whether its swarm was asked to empty it, and not yet to use it again.
    pub drained: bool,
}

/// How a rollout stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    /// Each machine, as in the plan.
    pub fared: Vec<Fared>,
    /// Why it went no further the last time, in words.
    pub stopped: Option<String>,
    /// How it ended, if it has.
    pub ended: Option<Event>,
    /// The last thing that happened.
    pub last: Option<Timestamp>,
}

impl Story {
    /// Reads what happened to the machines of `plan`. Lines that a crash cut short are passed over.
    ///
    /// # Errors
    /// If the journal is there but cannot be read.
    pub fn read(path: &Path, plan: &Plan) -> Result<Self> {
        let mut story = Story {
            fared: vec![
                Fared {
                    state: State::Waiting,
                    seconds: None,
                    why: None,
                    drained: false,
                };
                plan.steps.len()
            ],
            stopped: None,
            ended: None,
            last: None,
        };
        let mut bytes = Vec::new();
        match fs::File::open(path) {
            Ok(file) => file
                .take(MAX_SIZE)
                .read_to_end(&mut bytes)
                .map_err(Error::io(path))?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(story),
            Err(error) => return Err(Error::io(path)(error)),
        };
        let places: std::collections::HashMap<&str, usize> = plan
            .steps
            .iter()
            .enumerate()
            .map(|(at, step)| (step.name.as_str(), at))
            .collect();
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Ok(line) = serde_json::from_slice::<Line>(line) {
                let at = line.machine.as_deref().and_then(|name| places.get(name));
                story.take(line.clone(), at.copied());
            }
        }
        Ok(story)
    }

    fn take(&mut self, line: Line, at: Option<usize>) {
        self.last = Some(line.at);
        let state = match line.event {
            Event::Begin => {
                self.stopped = None;
                State::Begun
            }
            Event::Done => State::Done,
            Event::Failed => State::Failed,
            Event::Cut => State::Cut,
            Event::BackBegin => return,
            Event::Drained | Event::Active => {
                if let Some(fared) = at.and_then(|at| self.fared.get_mut(at)) {
                    fared.drained = line.event == Event::Drained;
                }
                return;
            }
            Event::Back => State::Back,
            Event::BackFailed => State::BackFailed,
            Event::Stopped => {
                self.stopped = line.why;
                return;
            }
            Event::Finished | Event::Aborted => {
                self.ended = Some(line.event);
                return;
            }
        };
        if let Some(fared) = at.and_then(|at| self.fared.get_mut(at)) {
            *fared = Fared {
                state,
                seconds: line.seconds,
                why: line.why,
                drained: fared.drained,
            };
        }
    }

    /// How many machines stand so.
    pub fn count(&self, state: State) -> usize {
        let of = self.fared.iter().filter(|fared| fared.state == state);
        of.count()
    }
}

/// Writes down what happens.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
}

impl Journal {
    /// The journal at `path`, which need not be there yet.
    pub fn at(path: PathBuf) -> Self {
        Journal { path }
    }

    /// Notes what happened to a machine, or to the whole if none is named.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn note(
        &self,
        event: Event,
        machine: Option<&str>,
        seconds: Option<f64>,
        why: Option<String>,
    ) -> Result<()> {
        let line = Line {
            at: Timestamp::now(),
            event,
            machine: machine.map(str::to_owned),
            seconds: seconds.map(|seconds| (seconds * 1000.0).round() / 1000.0),
            why: why.map(|why| why.chars().take(MAX_WHY).collect()),
        };
        let word = serde_json::to_value(event).unwrap_or_default();
        let word = word.as_str().unwrap_or_default().to_owned();
        let mut line = serde_json::to_vec(&line).map_err(|error| Error::Damaged {
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        line.push(b'\n');
        let about = machine.unwrap_or("all");
        die_here_if_told("rollout", about, &format!("before-{word}"));
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
            .map_err(Error::io(&self.path))?;
        file.write_all(&line)
            .and_then(|()| file.sync_data())
            .map_err(Error::io(&self.path))?;
        die_here_if_told("rollout", about, &word);
        Ok(())
    }
}
