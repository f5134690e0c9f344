//! A rollout under way: batch by batch, until it is done or there is a reason to stop.

use std::fmt::Display;
use std::time::{Duration, Instant};

use futures_util::StreamExt;

use super::folder::Rollout;
use super::journal::{Event, State};
use crate::fleet::{Bounds, Ended, Fate, Stop, crew};
use crate::store;

/// Why a rollout went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every machine has had its turn.
    Finished,
    /// Too many machines failed.
    TooManyFailed,
    /// The user asked for it.
    Interrupted,
    /// The whole run's time was over.
    Late,
}

/// What is told while a rollout is under way.
#[derive(Debug)]
pub enum Heard<T> {
    /// A batch begins: its number, and how many machines it has left to do.
    Batch(usize, usize),
    /// A machine has had its turn, or was left out.
    Ended(Ended<T>),
    /// The next batch waits so long.
    Pause(Duration),
}

/// Does `work` on the machines of a rollout that are not done yet, in their order and batches, and writes down in its
/// journal what becomes of each. A machine whose work began before and has no end is begun again.
///
/// `work` has the machine's place in the plan and its name.
///
/// # Errors
/// If the journal cannot be written: then nothing new is begun.
pub async fn walk<'a, T, E, F>(
    rollout: &'a Rollout,
    bounds: &Bounds,
    work: impl Fn(usize, &'a str) -> F,
    mut heard: impl FnMut(Heard<Result<T, E>>),
) -> super::Result<Ending>
where
    E: Display + From<store::Error>,
    F: Future<Output = Result<T, E>>,
{
    let (plan, journal) = (&rollout.plan, &rollout.journal);
    let story = rollout.story()?;
    let until = bounds.deadline.map(|deadline| Instant::now() + deadline);
    // Failures stop what is begun, and leave the user's own way to stop alone.
    let stop = Stop {
        starting: bounds.stop.starting.child_token(),
        running: bounds.stop.running.clone(),
    };
    let may_fail = plan.may_fail();
    let mut failed = 0;
    let mut worked = false;
    for batch in 1..=plan.batches() {
        let left = plan.steps.iter().enumerate().zip(&story.fared);
        let (places, names): (Vec<usize>, Vec<String>) = left
            .filter(|((_, step), fared)| step.batch == batch && fared.state != State::Done)
            .map(|((at, step), _)| (at, step.name.clone()))
            .unzip();
        if names.is_empty() {
            continue;
        }
        if worked && !plan.pace.pause.is_zero() {
            heard(Heard::Pause(plan.pace.pause));
            let over = until.map_or(Duration::MAX, |until| {
                until.saturating_duration_since(Instant::now())
            });
            tokio::select! {
                () = tokio::time::sleep(plan.pace.pause.min(over)) => {}
                () = stop.starting.cancelled() => {}
            }
        }
        let late = until.is_some_and(|until| until <= Instant::now());
        let ending = match (bounds.stop.starting.is_cancelled(), late) {
            (true, _) => Some(Ending::Interrupted),
            (false, true) => Some(Ending::Late),
            (false, false) => None,
        };
        if let Some(ending) = ending {
            return stopped(rollout, ending, failed);
        }
        worked = true;
        heard(Heard::Batch(batch, names.len()));
        let bounds = Bounds {
            parallel: bounds.parallel,
            timeout: bounds.timeout,
            deadline: until.map(|until| until.saturating_duration_since(Instant::now())),
            stop: stop.clone(),
        };
        let one = |at: usize, _: &str| {
            let at = places.get(at).copied().unwrap_or(at);
            let name = plan.steps.get(at).map_or("", |step| step.name.as_str());
            let begun = journal.note(Event::Begin, Some(name), None, None);
            let work = begun.map(|()| work(at, name));
            async move { work.map_err(E::from)?.await }
        };
        let mut broken = None;
        let mut late = false;
        {
            let mut endings = std::pin::pin!(crew(&names, &bounds, one));
            while let Some(mut ended) = endings.next().await {
                let (event, why) = match &ended.fate {
                    Fate::Done(Ok(_)) => (Event::Done, None),
                    Fate::Done(Err(error)) => (Event::Failed, Some(error.to_string())),
                    Fate::TimedOut(after) => {
                        let why = format!("not done within {} s", after.as_secs_f64());
                        (Event::Failed, Some(why))
                    }
                    Fate::Late { begun: true } => {
                        late = true;
                        let why = "not done when the run's time was over";
                        (Event::Failed, Some(why.to_owned()))
                    }
                    Fate::Interrupted { begun: true } => (Event::Cut, None),
                    Fate::Late { begun: false } => {
                        late = true;
                        continue;
                    }
                    Fate::Interrupted { begun: false } => continue,
                };
                let noted = journal.note(
                    event,
                    Some(&ended.name),
                    Some(ended.took.as_secs_f64()),
                    why,
                );
                if let Err(error) = noted {
                    stop.starting.cancel();
                    broken.get_or_insert(error);
                }
                if event == Event::Failed {
                    failed += 1;
                    if failed > may_fail {
                        stop.starting.cancel();
                    }
                }
                ended.at = places.get(ended.at).copied().unwrap_or(ended.at);
                heard(Heard::Ended(ended));
            }
        }
        if let Some(error) = broken {
            return Err(error.into());
        }
        if failed > may_fail {
            return stopped(rollout, Ending::TooManyFailed, failed);
        }
        if bounds.stop.running.is_cancelled() || late {
            let ending = match late {
                true => Ending::Late,
                false => Ending::Interrupted,
            };
            return stopped(rollout, ending, failed);
        }
    }
    // The last batch may have been cut short too.
    let story = rollout.story()?;
    if story.count(State::Waiting) + story.count(State::Begun) + story.count(State::Cut) > 0 {
        return stopped(rollout, Ending::Interrupted, failed);
    }
    journal.note(Event::Finished, None, None, None)?;
    Ok(Ending::Finished)
}

fn stopped(rollout: &Rollout, ending: Ending, failed: usize) -> super::Result<Ending> {
    let why = match ending {
        Ending::TooManyFailed => format!(
            "{failed} failed, and {} may",
            match rollout.plan.may_fail() {
                0 => "none".to_owned(),
                may => format!("no more than {may}"),
            }
        ),
        Ending::Interrupted => "it was interrupted".to_owned(),
        Ending::Late => "its time was over".to_owned(),
        Ending::Finished => String::new(),
    };
    let journal = &rollout.journal;
    journal.note(Event::Stopped, None, None, Some(why))?;
    Ok(ending)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::fleet::rollout::{Error, Pace, Plan, Step, Story, Task, list, only_open};
    use crate::store::Home;

    fn plan(count: usize, pace: &str) -> Plan {
        let mut words = pace.split(' ');
        let mut word = || words.next().unwrap();
        let pace = Pace {
            canary: word().parse().unwrap(),
            batch: word().parse().unwrap(),
            max_failures: word().parse().unwrap(),
            pause: Duration::ZERO,
        };
        let steps = (1..=count).map(|n| Step {
            name: format!("m{n}"),
            batch: 0,
            now: String::new(),
            then: String::new(),
            wish: None,
        });
        Plan::new(Task::Restart, None, pace, steps.collect())
    }

    fn bounds() -> Bounds {
        Bounds {
            parallel: 8,
            timeout: None,
            deadline: None,
            stop: Stop::default(),
        }
    }

    /// Walks; what `bad` names fails. Tells how it ended and who had a turn.
    async fn walked(rollout: &Rollout, bounds: &Bounds, bad: &[&str]) -> (Ending, String) {
        let had = RefCell::new(Vec::new());
        let work = |_, name: &str| {
            let name = name.to_owned();
            let had = &had;
            async move {
                had.borrow_mut().push(name.clone());
                match bad.contains(&name.as_str()) {
                    true => Err(store::Error::RelativeHome(name)),
                    false => Ok(()),
                }
            }
        };
        let mut batches = Vec::new();
        let ending = walk(rollout, bounds, work, |heard| {
            if let Heard::Batch(batch, count) = heard {
                batches.push(format!("{batch}:{count}"));
            }
        });
        let ending = ending.await.unwrap();
        let had = had.borrow().join(" ");
        (ending, format!("{} | {had}", batches.join(" ")))
    }

    #[tokio::test]
    async fn a_failure_stops_it_and_whoever_goes_on_does_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::of_test(folder.path());
        let rollout = Rollout::begin(&home, plan(6, "1 2 0")).await.unwrap();
        let id = rollout.plan.id.clone();
        let (ending, had) = walked(&rollout, &bounds(), &["m3"]).await;
        assert_eq!(ending, Ending::TooManyFailed);
        assert_eq!(had, "1:1 2:2 | m1 m2 m3");
        assert!(matches!(
            Rollout::reopen(&home, &id),
            Err(Error::Running { .. })
        ));
        let other = Rollout::begin(&home, plan(1, "0 1 0")).await;
        assert!(
            matches!(&other, Err(Error::Overlap { machines, .. }) if machines == &["m1"]),
            "{other:?}"
        );
        drop(rollout);
        assert_eq!(list(&home).unwrap()[0].word(), "stopped");
        let other = Rollout::begin(&home, plan(1, "0 1 0")).await;
        assert!(matches!(other, Err(Error::Overlap { running: None, .. })));
        assert_eq!(only_open(&home).unwrap(), id);
        let rollout = Rollout::reopen(&home, &id).unwrap();
        let (ending, had) = walked(&rollout, &bounds(), &[]).await;
        assert_eq!(ending, Ending::Finished);
        assert_eq!(had, "2:1 3:2 4:1 | m3 m4 m5 m6");
        drop(rollout);
        assert!(matches!(
            Rollout::reopen(&home, &id),
            Err(Error::Ended { .. })
        ));
        assert!(matches!(only_open(&home), Err(Error::NoneOpen)));
        Rollout::begin(&home, plan(1, "0 1 0")).await.unwrap();
    }

    #[tokio::test]
    async fn as_many_may_fail_as_was_said() {
        for (pace, bad, ending) in [
            ("0 1 1", &["m1"][..], Ending::Finished),
            ("0 1 1", &["m1", "m2"], Ending::TooManyFailed),
            ("0 1 34%", &["m1", "m2"], Ending::Finished),
            ("0 1 0%", &["m3"], Ending::TooManyFailed),
            ("0 1 100%", &["m1", "m2", "m3"], Ending::Finished),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let home = Home::of_test(folder.path());
            let rollout = Rollout::begin(&home, plan(3, pace)).await.unwrap();
            let (ended, _) = walked(&rollout, &bounds(), bad).await;
            assert_eq!(ended, ending, "{pace} {bad:?}");
        }
    }

    #[tokio::test]
    async fn one_that_is_stopped_begins_nothing_more() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::of_test(folder.path());
        let rollout = Rollout::begin(&home, plan(3, "0 1 0")).await.unwrap();
        let bounds = bounds();
        let stop = bounds.stop.clone();
        let work = async |_, _: &str| {
            stop.starting.cancel();
            Ok::<_, store::Error>(())
        };
        let ending = walk(&rollout, &bounds, work, |_| {}).await.unwrap();
        assert_eq!(ending, Ending::Interrupted);
        let story = rollout.story().unwrap();
        assert_eq!((story.count(State::Done), story.ended), (1, None));
        assert_eq!(story.stopped.as_deref(), Some("it was interrupted"));
    }

    #[test]
    fn a_line_that_was_cut_short_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let good = r#"{"at":"2026-01-01T00:00:00Z","event":"begin","machine":"m1"}"#;
        std::fs::write(&path, format!("{good}\n{}", &good[..40])).unwrap();
        let story = Story::read(&path, &plan(2, "0 1 0")).unwrap();
        assert_eq!(story.fared[0].state, State::Begun);
        assert_eq!(story.fared[1].state, State::Waiting);
    }
}
