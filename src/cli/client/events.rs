//! `berth events`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow};
use berth_provision::engine::{Happened, Period};
use futures_util::StreamExt;
use futures_util::future::join_all;
use jiff::Timestamp;

use super::super::error::Usage;
use super::super::fleet_args::seconds;
use super::super::{output, report};
use super::{Asking, Of, end, no_answer};
use crate::machine::{self, Berth, reach_engine};

/// Tell what happens in the engines of many machines
#[derive(Debug, clap::Args)]
#[command(
    after_help = "With --since what has happened since then, with -f what happens from now on until Ctrl-C, with both both. An \
                        engine that goes away is told of, and the others go on. Exit code 5 if there was one.\n\n\
                        Examples:\n  berth events -f\n  berth events --since 600 'web*' --json"
)]
pub struct Args {
    #[command(flatten)]
    asking: Asking,

    /// Go on with what happens
    #[arg(short, long)]
    follow: bool,

    /// What has happened in the last so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    since: Option<Duration>,

    /// Print JSON, an object a line: machine, time, kind, action, id, name
    #[arg(long)]
    json: bool,
}

/// Tells it.
pub async fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    if !args.follow && args.since.is_none() {
        return Err(Usage(
            "say -f for what happens from now on, --since for what has happened".into(),
        )
        .into());
    }
    let names = args.asking.machines(berth).await?;
    let now = Timestamp::now().as_second();
    let period = Period {
        since: args
            .since
            .map(|since| now.saturating_sub(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))),
        until: (!args.follow).then_some(now + 1),
    };
    let one = async |name: &String| {
        let outcome = follow(berth, args, name, period).await;
        // Told at once: the others may go on for days.
        outcome.err().inspect(|error| {
            if args.follow {
                report::print(error);
            }
        })
    };
    let ended = join_all(names.iter().map(one)).await;
    let failures: Vec<_> = ended.into_iter().flatten().collect();
    match args.follow && !failures.is_empty() {
        true => Ok(ExitCode::from(super::PARTLY_FAILED)),
        false => Ok(end(&failures)),
    }
}

async fn follow(berth: &Berth, args: &Args, name: &str, period: Period) -> Result<()> {
    let begun = async {
        let engine = reach_engine(berth, name, args.asking.timeout).await?;
        let events = engine.happenings(period).await;
        events.map_err(machine::Error::provision(name))
    };
    let late = |_| no_answer(name, args.asking.timeout);
    let mut events = tokio::time::timeout(args.asking.timeout, begun)
        .await
        .map_err(late)??;
    while let Some(row) = events.next().await {
        let of = Of {
            machine: name.to_owned(),
            row,
        };
        output::line(&match args.json {
            true => serde_json::to_string(&of)?,
            false => in_words(&of),
        })?;
    }
    match args.follow {
        true => Err(anyhow!("machine {name}: its engine went away")),
        false => Ok(()),
    }
}

fn in_words(of: &Of<Happened>) -> String {
    let Of { machine, row } = of;
    let time = Timestamp::from_nanosecond(row.time.into()).unwrap_or_default();
    let short: String = row
        .id
        .trim_start_matches("sha256:")
        .chars()
        .take(12)
        .collect();
    let what = match (row.name.as_str(), short.as_str()) {
        ("", id) => id.to_owned(),
        (name, id) if name == row.id => id.to_owned(),
        (name, id) => format!("{name} ({id})"),
    };
    format!("{machine}: {time:.3} {} {} {what}", row.kind, row.action)
}
