//! The way back of a whole rollout.

use anyhow::Result;
use futures_util::StreamExt;

use crate::cli::progress::Screen;
use crate::cli::report as errors;
use crate::fleet::rollout::{Event, Job, Rollout, State};
use crate::fleet::{Bounds, Fate, crew};

/// Brings every machine that was worked on back, the last first; true if all are. What cannot be brought back keeps the
/// rollout open.
pub async fn take_all_back(
    rollout: &Rollout,
    job: &Job<'_>,
    bounds: &Bounds,
    screen: &Screen,
) -> Result<bool> {
    let story = rollout.story()?;
    let worked_on = rollout.plan.steps.iter().zip(&story.fared);
    let steps: Vec<_> = worked_on
        .filter(|(_, fared)| !matches!(fared.state, State::Waiting | State::Back))
        .map(|(step, _)| step)
        .rev()
        .collect();
    let names: Vec<String> = steps.iter().map(|step| step.name.clone()).collect();
    let steps = &steps;
    let work = |at: usize, name: &str| {
        let task = screen.task(name);
        async move {
            let Some(step) = steps.get(at) else {
                return Ok(false);
            };
            let name = Some(step.name.as_str());
            rollout.journal.note(Event::BackBegin, name, None, None)?;
            let back = job.take_back(rollout, step, &*task).await;
            task.finish();
            back
        }
    };
    let mut all = true;
    let mut endings = std::pin::pin!(crew(&names, bounds, work));
    while let Some(ended) = endings.next().await {
        let (event, why) = match ended.fate {
            Fate::Done(Ok(_)) => (Event::Back, None),
            Fate::Done(Err(error)) => {
                let why = error.to_string();
                screen.clear();
                errors::print(&error.into());
                (Event::BackFailed, Some(why))
            }
            _ => {
                all = false;
                continue;
            }
        };
        all &= event == Event::Back;
        let took = Some(ended.took.as_secs_f64());
        rollout.journal.note(event, Some(&ended.name), took, why)?;
    }
    screen.clear();
    match all {
        true => rollout.journal.note(Event::Aborted, None, None, None)?,
        false => {
            let why = "not all could be brought back".to_owned();
            rollout
                .journal
                .note(Event::Stopped, None, None, Some(why))?;
        }
    }
    Ok(all)
}
