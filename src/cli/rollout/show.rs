//! `berth rollout status` and `history`

use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use super::report::{Report, story_table, summary};
use crate::cli::output::{self, Format};
use crate::fleet::rollout::{self, Seen, State};
use crate::machine::Berth;

/// Tell how a rollout stands
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  berth rollout status\n  berth rollout status 20260102-030405 --json"
)]
pub struct StatusArgs {
    /// The rollout [default: the last one that has not ended, or the last one]
    #[arg(value_name = "ID")]
    id: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// List rollouts, the last first
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  berth rollout history\n  berth rollout history --json\n  \
                        berth rollout history --format '{{.Id}} {{.State}}'"
)]
pub struct HistoryArgs {
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize)]
struct Entry {
    id: String,
    kind: &'static str,
    state: &'static str,
    owner: String,
    began: Timestamp,
    machines: usize,
    done: usize,
    failed: usize,
}

/// Tells how one stands.
pub fn status(berth: &Berth, args: &StatusArgs) -> Result<ExitCode> {
    let seen = match &args.id {
        Some(id) => rollout::look(&berth.home, id)?,
        None => {
            let mut all = rollout::list(&berth.home)?;
            let open = all.iter().rposition(|seen| seen.story.ended.is_none());
            match open.or(all.len().checked_sub(1)) {
                Some(at) => all.swap_remove(at),
                None => return Err(rollout::Error::NoneOpen.into()),
            }
        }
    };
    if args.json {
        output::line(&serde_json::to_string_pretty(&Report::of(&seen))?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let plan = &seen.plan;
    let mut head = format!(
        "rollout {} ({}), by {} since {:.0}: {}",
        plan.id,
        plan.task.word(),
        plan.owner,
        plan.began,
        seen.word()
    );
    if let Some(pid) = seen.running {
        head += &format!(", process {pid}");
    }
    if let Some(why) = seen
        .story
        .stopped
        .as_ref()
        .filter(|_| seen.story.ended.is_none())
    {
        head += &format!(": {why}");
    }
    output::line(&head)?;
    output::line(&story_table(&seen).trim_fmt())?;
    let reasons = plan.steps.iter().zip(&seen.story.fared);
    for (step, why) in reasons.filter_map(|(step, fared)| Some((step, fared.why.as_ref()?))) {
        let why = crate::cli::report::printable(why);
        output::line(&format!("{}: {}", step.name, why.replace('\n', " ")))?;
    }
    output::line(&summary(&seen))?;
    Ok(ExitCode::SUCCESS)
}

/// Lists them.
pub fn history(berth: &Berth, args: &HistoryArgs) -> Result<ExitCode> {
    let mut entries: Vec<Entry> = rollout::list(&berth.home)?.iter().map(entry).collect();
    entries.reverse();
    args.format.print(
        &entries,
        |entry| entry.id.clone(),
        |entries| {
            let mut table = output::table([
                "ID", "KIND", "STATE", "MACHINES", "DONE", "FAILED", "BY", "BEGAN",
            ]);
            for entry in entries {
                table.add_row([
                    entry.id.clone(),
                    entry.kind.to_owned(),
                    entry.state.to_owned(),
                    entry.machines.to_string(),
                    entry.done.to_string(),
                    entry.failed.to_string(),
                    entry.owner.clone(),
                    format!("{:.0}", entry.began),
                ]);
            }
            table
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

fn entry(seen: &Seen) -> Entry {
    Entry {
        id: seen.plan.id.clone(),
        kind: seen.plan.task.word(),
        state: seen.word(),
        owner: seen.plan.owner.clone(),
        began: seen.plan.began,
        machines: seen.plan.steps.len(),
        done: seen.story.count(State::Done),
        failed: seen.story.count(State::Failed) + seen.story.count(State::BackFailed),
    }
}
