//! What is told of a rollout.

use comfy_table::Table;
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::output;
use crate::fleet::fold;
use crate::fleet::rollout::{Plan, Seen, State, Story};

/// A rollout, as JSON tells it.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    id: &'a str,
    kind: &'static str,
    /// `planned`, `running`, `stopped`, `broke off`, `done`, `done, some failed`, `aborted`, `taken back`.
    state: &'static str,
    owner: &'a str,
    began: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Timestamp>,
    stopped: Option<&'a str>,
    machines: Vec<Row<'a>>,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    batch: usize,
    now: &'a str,
    then: &'a str,
    state: State,
    duration: Option<f64>,
    error: Option<&'a str>,
}

impl<'a> Report<'a> {
    /// Of a rollout that has not begun.
    pub fn of_plan(plan: &'a Plan) -> Self {
        Report {
            id: &plan.id,
            kind: plan.task.word(),
            state: "planned",
            owner: &plan.owner,
            began: plan.began,
            last: None,
            stopped: None,
            machines: rows(plan, None),
        }
    }

    /// Of one that has.
    pub fn of(seen: &'a Seen) -> Self {
        Report {
            state: seen.word(),
            last: seen.story.last,
            stopped: seen.story.stopped.as_deref(),
            machines: rows(&seen.plan, Some(&seen.story)),
            ..Report::of_plan(&seen.plan)
        }
    }
}

fn rows<'a>(plan: &'a Plan, story: Option<&'a Story>) -> Vec<Row<'a>> {
    let steps = plan.steps.iter().enumerate();
    let rows = steps.map(|(at, step)| {
        let fared = story.and_then(|story| story.fared.get(at));
        Row {
            name: &step.name,
            batch: step.batch,
            now: &step.now,
            then: &step.then,
            state: fared.map_or(State::Waiting, |fared| fared.state),
            duration: fared.and_then(|fared| fared.seconds),
            error: fared.and_then(|fared| fared.why.as_deref()),
        }
    });
    rows.collect()
}

/// What is to be done, a machine a line.
pub fn plan_table(plan: &Plan) -> String {
    let mut table = output::table(["MACHINE", "NOW", "THEN", "BATCH"]);
    for step in &plan.steps {
        table.add_row([
            step.name.as_str(),
            &step.now,
            &step.then,
            &step.batch.to_string(),
        ]);
    }
    table.trim_fmt()
}

/// How it stands, a machine a line.
pub fn story_table(seen: &Seen) -> Table {
    let mut table = output::table(["MACHINE", "NOW", "THEN", "BATCH", "STATE", "TIME"]);
    for row in rows(&seen.plan, Some(&seen.story)) {
        let time = row.duration.map(|time| format!("{time:.1} s"));
        table.add_row([
            row.name,
            row.now,
            row.then,
            &row.batch.to_string(),
            row.state.word(),
            &time.unwrap_or_default(),
        ]);
    }
    table
}

/// How carefully it goes, in a line.
pub fn pace(plan: &Plan) -> String {
    let of = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let batches = plan.batches();
    let sizes: Vec<String> = (1..=batches)
        .map(|batch| {
            let of = plan.steps.iter().filter(|step| step.batch == batch);
            of.count().to_string()
        })
        .collect();
    let mut line = format!(
        "{} of {} in {}",
        plan.task.word(),
        of(plan.steps.len(), "machine"),
        match batches {
            1 => "one batch".to_owned(),
            2..=12 => format!("{batches} batches of {}", sizes.join(", ")),
            _ => format!("{batches} batches"),
        }
    );
    if batches > 1 && !plan.pace.pause.is_zero() {
        line += &format!(", {} s between them", plan.pace.pause.as_secs());
    }
    line += &match plan.may_fail() {
        0 => "; it stops when one fails".to_owned(),
        may => format!("; it stops when more than {may} fail"),
    };
    line
}

/// How many machines stand how, and which.
pub fn summary(seen: &Seen) -> String {
    let mut parts = Vec::new();
    for state in [
        State::Done,
        State::Back,
        State::Failed,
        State::BackFailed,
        State::Cut,
        State::Begun,
        State::Waiting,
    ] {
        let rows = seen.plan.steps.iter().zip(&seen.story.fared);
        let names: Vec<&str> = rows
            .filter(|(_, fared)| fared.state == state)
            .map(|(step, _)| step.name.as_str())
            .collect();
        let word = match state {
            State::Waiting => "not begun",
            state => state.word(),
        };
        match names.len() {
            0 => {}
            count if state == State::Done => parts.push(format!("{count} done")),
            count => parts.push(format!("{count} {word}: {}", fold(&names))),
        }
    }
    parts.join("; ")
}

/// Names in short.
pub fn folded(names: &[String]) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    fold(&names)
}
