//! How far a run across machines is, and how it went, in one line each.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::progress::Task;
use crate::fleet::fold;

/// So many characters of the busy machines' names are shown.
const NAMES_SHOWN: usize = 60;

/// What is known while the run goes on.
pub struct Tally {
    task: Option<Arc<Task>>,
    total: usize,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    done: usize,
    failed: usize,
    busy: BTreeSet<String>,
}

impl Tally {
    /// A run across `total` machines, shown by `task` if by any.
    pub fn new(task: Option<Arc<Task>>, total: usize) -> Self {
        Tally {
            task,
            total,
            began: Instant::now(),
            state: Mutex::default(),
        }
    }

    /// A machine has its turn.
    pub fn begins(&self, name: &str) {
        self.change(|state| {
            state.busy.insert(name.to_owned());
        });
    }

    /// A machine is done with.
    pub fn ends(&self, name: &str, well: bool) {
        self.change(|state| {
            state.busy.remove(name);
            state.done += 1;
            state.failed += usize::from(!well);
        });
    }

    /// Takes the line away.
    pub fn finish(&self) {
        if let Some(task) = &self.task {
            task.finish();
        }
    }

    /// The line at the end: who fared how, `fates` being words and names.
    pub fn summary(&self, fates: &[(String, Vec<&str>)]) -> String {
        let parts = fates.iter().map(|(fate, names)| {
            let (count, names) = (names.len(), fold(names));
            match fate.as_str() {
                "ok" => format!("{count} ok"),
                fate => format!("{count} {fate}: {names}"),
            }
        });
        let parts = parts.collect::<Vec<_>>().join("; ");
        format!("{parts} ({:.1} s)", self.began.elapsed().as_secs_f64())
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        // When all are done the summary comes.
        if let Some(task) = self.task.as_ref().filter(|_| state.done < self.total) {
            task.tell(state.line(self.total));
        }
    }
}

impl State {
    fn line(&self, total: usize) -> String {
        let mut line = format!("{} of {total} done", self.done);
        if self.failed > 0 {
            line += &format!(", {} failed", self.failed);
        }
        if !self.busy.is_empty() {
            let names: Vec<&str> = self.busy.iter().map(String::as_str).collect();
            let mut names = fold(&names);
            if names.len() > NAMES_SHOWN {
                names.truncate(NAMES_SHOWN);
                names.push('…');
            }
            line += &format!("; busy: {names}");
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_told_in_a_line() {
        let tally = Tally::new(None, 3);
        for name in ["web1", "web2", "db1"] {
            tally.begins(name);
        }
        tally.ends("db1", false);
        let line = tally.state.lock().unwrap().line(3);
        assert_eq!(line, "1 of 3 done, 1 failed; busy: web[1-2]");
        let fates = [
            ("ok".to_owned(), vec!["web1", "web2"]),
            ("exit 3".to_owned(), vec!["db1"]),
        ];
        let summary = tally.summary(&fates);
        assert!(summary.starts_with("2 ok; 1 exit 3: db1 ("), "{summary}");
    }
}
