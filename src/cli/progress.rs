//! Progress on stderr: live lines on a terminal, timestamped lines elsewhere.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use berth_driver_api::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::Zoned;
use serde::Serialize;

/// Plain lines tell how far a phase is no more often than this.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// The terminal, or the log, that all progress of a command goes to.
pub struct Screen {
    bars: Option<MultiProgress>,
    quiet: bool,
}

/// How long one phase took.
#[derive(Debug, Clone, Serialize)]
pub struct Timing {
    /// The phase's title.
    pub phase: String,
    /// Seconds.
    pub seconds: f64,
}

/// The progress of one subject: a machine, or an image.
pub struct Task {
    subject: String,
    output: Output,
    state: Mutex<State>,
}

enum Output {
    Bar(ProgressBar, MultiProgress),
    Plain,
    Quiet,
}

#[derive(Default)]
struct State {
    timings: Vec<Timing>,
    phase: Option<(String, Instant)>,
    said: Option<Instant>,
}

impl Screen {
    /// Live lines if stderr is a terminal and `quiet` is not asked for.
    pub fn new(quiet: bool) -> Self {
        let live = std::io::stderr().is_terminal() && !quiet;
        Screen {
            bars: live.then(MultiProgress::new),
            quiet,
        }
    }

    /// A line for `subject`.
    pub fn task(&self, subject: &str) -> Arc<Task> {
        let output = match (&self.bars, self.quiet) {
            (_, true) => Output::Quiet,
            (None, false) => Output::Plain,
            (Some(bars), false) => {
                let bar = bars.add(ProgressBar::new_spinner());
                bar.set_style(
                    ProgressStyle::with_template("{spinner} {prefix:.bold} {msg} {elapsed:.dim}")
                        .unwrap_or_else(|_| ProgressStyle::default_spinner()),
                );
                bar.set_prefix(subject.to_owned());
                bar.enable_steady_tick(Duration::from_millis(120));
                Output::Bar(bar, bars.clone())
            }
        };
        Arc::new(Task {
            subject: subject.to_owned(),
            output,
            state: Mutex::default(),
        })
    }

    /// Takes the live lines away, so that what follows starts on a clean line.
    pub fn clear(&self) {
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
    }
}

impl Task {
    /// Ends the last phase and tells how long each took.
    pub fn finish(&self) -> Vec<Timing> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        close_phase(&mut state);
        if let Output::Bar(bar, _) = &self.output {
            bar.finish_and_clear();
        }
        state.timings.clone()
    }

    /// Tells how far the whole is: at once on a terminal, elsewhere now and then, and not of what is soon over.
    pub fn tell(&self, far: String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.said.get_or_insert_with(Instant::now);
        self.far(&mut state, far);
    }

    fn far(&self, state: &mut State, far: String) {
        let due = |said: Instant| said.elapsed() >= PLAIN_INTERVAL;
        match &self.output {
            Output::Bar(bar, _) => bar.set_message(far),
            Output::Plain if state.said.is_none_or(due) => {
                state.said = Some(Instant::now());
                self.plain(&far);
            }
            Output::Plain | Output::Quiet => {}
        }
    }

    fn plain(&self, text: &str) {
        eprintln!(
            "{} {}: {text}",
            Zoned::now().strftime("%H:%M:%S"),
            self.subject
        );
    }
}

impl Progress for Task {
    fn phase(&self, title: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state
            .phase
            .as_ref()
            .is_some_and(|(current, _)| current == title)
        {
            return;
        }
        close_phase(&mut state);
        state.phase = Some((title.to_owned(), Instant::now()));
        state.said = None;
        match &self.output {
            Output::Bar(bar, _) => bar.set_message(title.to_owned()),
            Output::Plain => self.plain(title),
            Output::Quiet => {}
        }
    }

    fn bytes(&self, done: u64, total: Option<u64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((title, _)) = &state.phase else {
            return;
        };
        let far = match total.filter(|total| *total > 0) {
            Some(total) => format!("{title}: {}%", done.min(total) * 100 / total),
            None => format!("{title}: {}", crate::machine::show_size(done)),
        };
        self.far(&mut state, far);
    }

    fn note(&self, line: &str) {
        match &self.output {
            Output::Bar(_, bars) => {
                let _ = bars.println(format!("{}: {line}", self.subject));
            }
            Output::Plain => self.plain(line),
            Output::Quiet => {}
        }
    }
}

fn close_phase(state: &mut State) {
    if let Some((phase, began)) = state.phase.take() {
        state.timings.push(Timing {
            phase,
            seconds: began.elapsed().as_secs_f64(),
        });
    }
}

/// Where the time went, as a small bar chart on stderr.
pub fn print_timings(subject: &str, timings: &[Timing]) {
    let total: f64 = timings.iter().map(|timing| timing.seconds).sum();
    let width = timings
        .iter()
        .map(|t| t.phase.chars().count())
        .max()
        .unwrap_or(0);
    eprintln!("{subject}: {total:.1} s");
    for timing in timings {
        let length = (timing.seconds / total.max(f64::EPSILON) * 40.0).round() as usize;
        eprintln!(
            "  {:width$}  {:6.1} s  {}",
            timing.phase,
            timing.seconds,
            "█".repeat(length)
        );
    }
}
