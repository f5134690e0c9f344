//! How many machines are worked on at once, for how long, and what an interruption does to them.

use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt, stream};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

/// Connections for each CPU of this computer: most of their time is spent waiting for the other side.
const PER_CPU: usize = 32;

/// Files that a connection may hold open: its socket, and what is kept of its two streams.
const FILES: u64 = 4;

/// Files for everything else.
const SPARE_FILES: u64 = 64;

/// The two ways to end a run early.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// No machine is begun any more; those that were begun are finished.
    pub starting: CancellationToken,
    /// What runs is cut off.
    pub running: CancellationToken,
}

/// How a run across machines is bounded.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Machines at once.
    pub parallel: usize,
    /// How long one machine may take.
    pub timeout: Option<Duration>,
    /// How long all of them may take, from when the work begins.
    pub deadline: Option<Duration>,
    /// Where an interruption is heard of.
    pub stop: Stop,
}

/// How a machine fared.
#[derive(Debug)]
pub enum Fate<T> {
    /// The work was done, well or badly.
    Done(T),
    /// It was cut off after its own time.
    TimedOut(Duration),
    /// It was cut off, or not begun, as the run's time was over.
    Late {
        /// Whether it had begun.
        begun: bool,
    },
    /// It was cut off by the user, or not begun.
    Interrupted {
        /// Whether it had begun.
        begun: bool,
    },
}

/// One machine's outcome.
#[derive(Debug)]
pub struct Ended<T> {
    /// Its place in the selection.
    pub at: usize,
    /// Its name.
    pub name: String,
    /// From its turn to its end.
    pub took: Duration,
    /// What came of it.
    pub fate: Fate<T>,
}

/// Does `work` for every place and name in `names` within `bounds`; outcomes come as they are there. A machine has its turn as soon as
/// another one is done, in the order of the names.
pub fn crew<'a, T: 'a, F: Future<Output = T> + 'a>(
    names: &'a [String],
    bounds: &'a Bounds,
    work: impl Fn(usize, &'a str) -> F + 'a,
) -> impl Stream<Item = Ended<T>> + 'a {
    let until = bounds
        .deadline
        .and_then(|deadline| tokio::time::Instant::now().checked_add(deadline));
    let one = move |(at, name): (usize, &'a String)| {
        // The work is made when the machine has its turn, not before.
        let work = &work;
        let work = (!bounds.stop.starting.is_cancelled()).then(|| work(at, name));
        async move {
            let began = Instant::now();
            let fate = match work {
                Some(work) => bounded(bounds, until, work).await,
                None => Fate::Interrupted { begun: false },
            };
            Ended {
                at,
                name: name.clone(),
                took: began.elapsed(),
                fate,
            }
        }
    };
    stream::iter(names.iter().enumerate())
        .map(one)
        .buffer_unordered(bounds.parallel.max(1))
}

async fn bounded<T>(
    bounds: &Bounds,
    until: Option<tokio::time::Instant>,
    work: impl Future<Output = T>,
) -> Fate<T> {
    let late = async {
        match until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    let timed_out = async {
        match bounds.timeout {
            Some(timeout) => {
                tokio::time::sleep(timeout).await;
                timeout
            }
            None => std::future::pending().await,
        }
    };
    if until.is_some_and(|until| until <= tokio::time::Instant::now()) {
        return Fate::Late { begun: false };
    }
    tokio::select! {
        biased;
        () = bounds.stop.running.cancelled() => Fate::Interrupted { begun: true },
        done = work => Fate::Done(done),
        timeout = timed_out => Fate::TimedOut(timeout),
        () = late => Fate::Late { begun: true },
    }
}

/// How many machines this computer can well work on at once: by its CPUs, and by the files it may have open, of which
/// as many are asked for as there can be.
pub fn default_parallel() -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let files = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) => match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => hard,
            Err(_) => soft,
        },
        Err(_) => SPARE_FILES,
    };
    let by_files = files.saturating_sub(SPARE_FILES) / FILES;
    (cpus * PER_CPU)
        .min(usize::try_from(by_files).unwrap_or(usize::MAX))
        .max(1)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn bounds(parallel: usize) -> Bounds {
        Bounds {
            parallel,
            timeout: None,
            deadline: None,
            stop: Stop::default(),
        }
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|at| format!("m{at}")).collect()
    }

    #[tokio::test]
    async fn no_more_than_asked_for_run_at_once() {
        let (names, bounds) = (names(20), bounds(3));
        let (now, most) = (Cell::new(0), Cell::new(0));
        let work = async |_, _: &str| {
            now.set(now.get() + 1);
            most.set(most.get().max(now.get()));
            tokio::task::yield_now().await;
            now.set(now.get() - 1);
        };
        let ended: Vec<_> = crew(&names, &bounds, work).collect().await;
        assert_eq!((ended.len(), most.get()), (20, 3));
    }

    #[tokio::test]
    async fn the_first_stop_begins_no_more_and_the_second_ends_all() {
        let (names, bounds) = (names(4), bounds(2));
        let stop = bounds.stop.clone();
        let work = async |at, _: &str| match at {
            0 => stop.starting.cancel(),
            _ => {
                stop.starting.cancelled().await;
                stop.running.cancel();
                std::future::pending().await
            }
        };
        let mut ended: Vec<_> = crew(&names, &bounds, work).collect().await;
        ended.sort_by_key(|ended| ended.at);
        let fates: Vec<_> = ended
            .iter()
            .map(|ended| format!("{:?}", ended.fate))
            .collect();
        assert_eq!(
            fates,
            [
                "Done(())",
                "Interrupted { begun: true }",
                "Interrupted { begun: false }",
                "Interrupted { begun: false }"
            ]
        );
    }

    #[tokio::test]
    async fn a_machine_has_its_time_and_the_run_its_own() {
        let mut bounds = bounds(1);
        bounds.timeout = Some(Duration::from_millis(20));
        bounds.deadline = Some(Duration::from_millis(30));
        let names = names(3);
        let ended: Vec<_> = crew(&names, &bounds, |_, _| std::future::pending::<()>())
            .collect()
            .await;
        let fates: Vec<_> = ended
            .iter()
            .map(|ended| format!("{:?}", ended.fate))
            .collect();
        assert_eq!(
            fates,
            [
                "TimedOut(20ms)",
                "Late { begun: true }",
                "Late { begun: false }"
            ]
        );
    }
}
