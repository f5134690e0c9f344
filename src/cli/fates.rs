//! How each machine fared, for the summary.

use std::collections::BTreeMap;

use anyhow::{Error, Result, anyhow};

use super::report;
use crate::fleet::{Ended, Fate};

/// Of those the summary alone tells: they may be many, and there is nothing more to say.
const NOT_BEGUN: &str = "not begun";

/// Machines by how they fared; those that did well come first.
#[derive(Default)]
pub struct Fates {
    by_word: BTreeMap<(bool, String), Vec<(usize, String)>>,
    errors: Vec<(usize, Error)>,
}

impl Fates {
    /// Takes a machine's end in; gives its exit code, or why it has none.
    pub fn add(&mut self, ended: Ended<Result<i32>>) -> (Option<i32>, Option<String>) {
        let Ended { at, name, fate, .. } = ended;
        let (word, outcome) = match fate {
            Fate::Done(Ok(0)) => ("ok".to_owned(), Ok(0)),
            Fate::Done(Ok(code)) => (format!("exit {code}"), Ok(code)),
            Fate::Done(Err(error)) => ("failed".into(), Err(error)),
            Fate::TimedOut(after) => (
                "timed out".into(),
                Err(anyhow!(
                    "machine {name}: not done within {} s; what it began may go on there",
                    after.as_secs_f64()
                )),
            ),
            Fate::Late { begun: true } => (
                "timed out".into(),
                Err(anyhow!(
                    "machine {name}: not done when the run's time was over; what it began may go on there"
                )),
            ),
            Fate::Interrupted { begun: true } => (
                "interrupted".into(),
                Err(anyhow!(
                    "machine {name}: interrupted; what it began may go on there"
                )),
            ),
            Fate::Late { begun: false } | Fate::Interrupted { begun: false } => (
                NOT_BEGUN.into(),
                Err(anyhow!("machine {name}: not begun, nothing was done there")),
            ),
        };
        let well = matches!(outcome, Ok(0));
        let begun = word != NOT_BEGUN;
        let names = self.by_word.entry((!well, word)).or_default();
        names.push((at, name));
        match outcome {
            Ok(code) => (Some(code), None),
            Err(error) => {
                let message = report::message(&error);
                if begun {
                    self.errors.push((at, error));
                }
                (None, Some(message))
            }
        }
    }

    /// True if every machine did well.
    pub fn all_well(&self) -> bool {
        self.by_word.keys().all(|(bad, _)| !bad)
    }

    /// Prints why machines have no exit code, in their order.
    pub fn print_errors(&mut self) {
        self.errors.sort_by_key(|(at, _)| *at);
        for (_, error) in &self.errors {
            report::print(error);
        }
    }

    /// Words and the machines that they are true of.
    pub fn in_order(&mut self) -> Vec<(String, Vec<&str>)> {
        let order = self.by_word.iter_mut().map(|((_, word), names)| {
            names.sort();
            let names = names.iter().map(|(_, name)| name.as_str()).collect();
            (word.clone(), names)
        });
        order.collect()
    }
}
