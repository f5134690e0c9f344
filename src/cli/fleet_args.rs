//! The options of commands that work on many machines at once.

use std::time::Duration;

use crate::fleet::{Bounds, Stop, default_parallel};

/// The most machines at once that make sense, and the longest time, in seconds.
const MAX_PARALLEL: u64 = 4096;
const MAX_SECONDS: f64 = 31_536_000.0;

/// How many at once, and for how long.
#[derive(Debug, Clone, clap::Args)]
pub struct FleetArgs {
    /// Machines at once [default: by this computer's CPUs and open files]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_PARALLEL), help_heading = "Fleet")]
    parallel: Option<u64>,

    /// How long each machine may take, in seconds, with connecting
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = "Fleet")]
    timeout: Option<Duration>,

    /// How long all of them together may take, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = "Fleet")]
    deadline: Option<Duration>,
}

impl FleetArgs {
    /// How long work on one machine alone may take.
    pub fn alone(&self) -> Option<Duration> {
        [self.timeout, self.deadline].into_iter().flatten().min()
    }

    /// The bounds that were asked for.
    pub fn bounds(&self, stop: Stop) -> Bounds {
        let most = default_parallel();
        let asked = self.parallel.map(|n| usize::try_from(n).unwrap_or(most));
        Bounds {
            parallel: asked.unwrap_or(most),
            timeout: self.timeout,
            deadline: self.deadline,
            stop,
        }
    }
}

/// Reads seconds, which may have a fraction.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "write seconds, such as 30 or 0.5".to_owned();
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    if !(seconds > 0.0 && seconds <= MAX_SECONDS) {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}
