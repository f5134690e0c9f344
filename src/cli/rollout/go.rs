//! A rollout under way: machines are held, worked on, and told of as they are done with.

use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use berth_driver_api::{Progress, Silent};

use super::back::take_all_back;
use super::report::{Report, summary};
use crate::cli::exec::text;
use crate::cli::fleet_args::FleetArgs;
use crate::cli::progress::Screen;
use crate::cli::tally::Tally;
use crate::cli::words::{INTERRUPTED, PARTLY_FAILED};
use crate::cli::{interrupt, output, report as errors};
use crate::fleet::rollout::{
    Ending, Error, Event, Heard, Holder, Job, Rollout, Said, Seen, State, Step, Task, look, walk,
};
use crate::fleet::{Bounds, Ended, Fate, Stop, for_each};
use crate::machine::Berth;

/// How it is told of, and what a failure leads to.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// As JSON, at the end.
    pub json: bool,
    /// If too many fail, all go back.
    pub rollback_all: bool,
    /// Nothing of it was done before.
    pub begins: bool,
}

/// Carries a rollout out, or on.
pub async fn go(
    berth: &Berth,
    rollout: Rollout,
    job: &Job<'_>,
    fleet: &FleetArgs,
    shown: Shown,
    screen: &Screen,
) -> Result<ExitCode> {
    let stop = Stop::default();
    interrupt::listen(stop.clone())?;
    let mut bounds = fleet.bounds(stop);
    let began = Instant::now();
    let plan = &rollout.plan;
    // An upgrade that takes too long is taken back, not cut off.
    if matches!(plan.task, Task::Upgrade { .. }) {
        bounds.timeout = None;
    }
    if let Some(code) = hold(&rollout, job, &bounds, screen).await? {
        if shown.begins {
            rollout.journal.note(Event::Aborted, None, None, None)?;
        }
        return Ok(code);
    }
    let ending = work(&rollout, job, &bounds, shown, screen).await?;
    if ending == Ending::TooManyFailed && shown.rollback_all {
        eprintln!("berth: too many failed: all go back");
        take_all_back(&rollout, job, &bounds, screen).await?;
    }
    let interrupted = bounds.stop.starting.is_cancelled();
    let id = plan.id.clone();
    drop(rollout);
    let seen = look(&berth.home, &id)?;
    finish(&seen, began, shown.json, interrupted)
}

/// Takes all machines that are left; the exit code if somebody else has one.
async fn hold(
    rollout: &Rollout,
    job: &Job<'_>,
    bounds: &Bounds,
    screen: &Screen,
) -> Result<Option<ExitCode>> {
    let story = rollout.story()?;
    let left = rollout.plan.steps.iter().zip(&story.fared);
    let names: Vec<String> = left
        .filter(|(_, fared)| fared.state != State::Done)
        .map(|(step, _)| step.name.clone())
        .collect();
    let holder = Holder::of(&rollout.plan);
    let task = screen.task("rollout");
    task.tell(format!("taking {} machines", names.len()));
    let held = for_each(&names, bounds.parallel, async |name| {
        job.hold(&name, &holder).await
    });
    let held = tokio::select! {
        held = held => held,
        () = bounds.stop.starting.cancelled() => return Ok(Some(ExitCode::from(INTERRUPTED))),
    };
    task.finish();
    screen.clear();
    let mut code = None;
    for (_, held) in held {
        // One that cannot be reached is tried again when its turn comes, and fails then.
        if let Err(error @ (Error::Held { .. } | Error::Unlockable { .. })) = held {
            code = Some(errors::print(&error.into()));
        }
    }
    Ok(code)
}

async fn work(
    rollout: &Rollout,
    job: &Job<'_>,
    bounds: &Bounds,
    shown: Shown,
    screen: &Screen,
) -> Result<Ending> {
    let plan = &rollout.plan;
    let story = &rollout.story()?;
    let left = plan.steps.len() - story.count(State::Done);
    let whole = screen.task("rollout");
    let tally = &Tally::new(Some(whole.clone()), left);
    let quiet = matches!(plan.task, Task::Exec { .. });
    let one = |at: usize, name: &str| {
        tally.begins(name);
        let task = (!quiet).then(|| screen.task(name));
        let work = plan.steps.get(at).zip(story.fared.get(at));
        async move {
            let Some((step, before)) = work else {
                return Ok(Said::default());
            };
            let progress: &dyn Progress = match &task {
                Some(task) => &**task,
                None => &Silent,
            };
            let done = job.carry_out(rollout, step, before, progress).await;
            if let Some(task) = &task {
                task.finish();
            }
            done
        }
    };
    let ending = walk(rollout, bounds, one, |heard| match heard {
        Heard::Batch(batch, count) => {
            let (of, machines) = (
                plan.batches(),
                if count == 1 { "machine" } else { "machines" },
            );
            whole.note(&format!("batch {batch} of {of}: {count} {machines}"));
        }
        Heard::Pause(pause) => whole.note(&format!("a pause of {} s", pause.as_secs())),
        Heard::Ended(ended) => {
            tally.ends(&ended.name, matches!(ended.fate, Fate::Done(Ok(_))));
            screen.clear();
            if let Some(step) = plan.steps.get(ended.at) {
                tell(&plan.task, step, ended, shown);
            }
        }
    });
    let ending = ending.await?;
    tally.finish();
    screen.clear();
    Ok(ending)
}

/// Tells how a machine fared.
fn tell(task: &Task, step: &Step, ended: Ended<Result<Said, Error>>, shown: Shown) {
    let name = &step.name;
    match ended.fate {
        Fate::Done(Ok(_)) if shown.json => {}
        Fate::Done(Ok(mut said)) => {
            // Who reads no more wants no more words either.
            let _ = match task {
                Task::Upgrade { .. } => {
                    output::line(&format!("{name}: {} → {}", step.now, step.then))
                }
                Task::Exec { .. } => print(name, &mut said).map_err(Into::into),
                Task::Restart => output::line(&format!("{name}: restarted")),
                Task::Provision { .. } | Task::Apply { .. } => output::line(name),
            };
        }
        Fate::Done(Err(error)) => {
            errors::print(&error.into());
        }
        Fate::TimedOut(after) => eprintln!(
            "berth: machine {name}: not done within {} s; what it began may go on there",
            after.as_secs_f64()
        ),
        Fate::Late { begun: true } => eprintln!(
            "berth: machine {name}: not done when the rollout's time was over; what it began may go on there"
        ),
        Fate::Interrupted { begun: true } => {
            eprintln!("berth: machine {name}: cut off; what it began may go on there");
        }
        Fate::Late { begun: false } | Fate::Interrupted { begun: false } => {}
    }
}

fn print(name: &str, said: &mut Said) -> std::io::Result<()> {
    use std::io::IsTerminal;
    let prefix = format!("{name}: ");
    let shown = |terminal| text::Shown { terminal };
    let (out, err) = (std::io::stdout(), std::io::stderr());
    let terminals = (out.is_terminal(), err.is_terminal());
    let printed = shown(terminals.0).copy(said.stdout.reader()?, out.lock(), &prefix);
    match printed {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
        printed => printed?,
    }
    shown(terminals.1).copy(said.stderr.reader()?, err.lock(), &prefix)
}

/// Tells how it went, and what can be done next.
pub fn finish(seen: &Seen, began: Instant, json: bool, interrupted: bool) -> Result<ExitCode> {
    let id = &seen.plan.id;
    if json {
        output::line(&serde_json::to_string_pretty(&Report::of(seen))?)?;
    }
    eprintln!(
        "berth: rollout {id} {}: {} ({:.1} s)",
        match &seen.story.stopped {
            Some(why) if seen.story.ended.is_none() => format!("stopped: {why}"),
            _ => seen.word().to_owned(),
        },
        summary(seen),
        began.elapsed().as_secs_f64()
    );
    if seen.story.ended.is_none() {
        let back = match seen.plan.task {
            Task::Upgrade { .. } => {
                format!(
                    ", `berth rollout abort {id} --rollback` brings back what was there before it"
                )
            }
            _ => String::new(),
        };
        eprintln!(
            "hint: `berth rollout resume {id}` goes on, with those that failed too; `berth rollout abort {id}` leaves all \
             as it is{back}"
        );
    }
    let well = |state| seen.story.count(state) == seen.story.fared.len();
    Ok(match interrupted {
        true => ExitCode::from(INTERRUPTED),
        false if well(State::Done) => ExitCode::SUCCESS,
        false => ExitCode::from(PARTLY_FAILED),
    })
}
