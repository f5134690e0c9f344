//! `berth plan`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::ValueHint;

use super::output;
use super::progress::Screen;
use super::report::printable;
use super::words::{DIFFERS, PARTLY_FAILED};
use crate::fleet::default_parallel;
use crate::fleet::file::{DEFAULT_FILE, Fleet};
use crate::fleet::plan::{Action, Difference, Plan, Row, plan};
use crate::machine::Berth;

/// In seconds.
const ASKING: u64 = 30;

/// Show what would have to be done for machines to be as a fleet file says
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Machines that run are asked: their engine's version, its settings, their mounts; their hypervisors are asked \
                  for their sizes. Images, options and labels, and the engine of a machine that is stopped, are told by its \
                  record. Labels, mounts and engine settings \
                  are all that a machine is to have; of everything else, what the file does not say may be as it is.\n\n\
                  Exit codes: 0 nothing is to be done, 6 something is, 5 a machine could not be asked.\n\n\
                  Examples:\n  berth plan\n  berth plan -f prod.toml --json\n  berth fleet schema > fleet.schema.json"
)]
pub struct Args {
    #[command(flatten)]
    file: FileArgs,

    /// Print JSON: fleet, machines with name, group, action, differences (part, what, now, then), note; swarms
    /// with name, group, differences, note
    #[arg(long)]
    json: bool,
}

/// The file, and how its machines are asked; for `plan` and `apply`.
#[derive(Debug, clap::Args)]
pub struct FileArgs {
    /// The fleet file
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE, value_hint = ValueHint::FilePath)]
    file: PathBuf,

    /// How long a machine may take to tell what it is like, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = ASKING, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    ask: u64,

    /// Machines at once [default: by this computer's CPUs and open files]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    parallel: Option<u16>,
}

impl FileArgs {
    /// A file, whose machines are asked as if nothing else had been said.
    pub fn of(file: &Path) -> Self {
        FileArgs {
            file: file.to_owned(),
            ask: ASKING,
            parallel: None,
        }
    }

    /// The file, read.
    ///
    /// # Errors
    /// As [`Fleet::read`].
    pub fn read(&self) -> Result<Fleet> {
        Ok(Fleet::read(&self.file)?)
    }

    /// Machines at once.
    pub fn parallel(&self) -> usize {
        self.parallel.map_or_else(default_parallel, usize::from)
    }

    /// Asks the machines.
    ///
    /// # Errors
    /// As [`plan`].
    pub async fn plan(&self, berth: &Berth, fleet: &Fleet, screen: &Screen) -> Result<Plan> {
        let task = screen.task(&fleet.name);
        task.tell("asking the machines".into());
        let plan = plan(berth, fleet, self.parallel(), Duration::from_secs(self.ask)).await;
        task.finish();
        screen.clear();
        Ok(plan?)
    }
}

/// Shows it.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    let fleet = args.file.read()?;
    let plan = args.file.plan(berth, &fleet, screen).await?;
    match args.json {
        true => output::line(&serde_json::to_string_pretty(&plan)?)?,
        false => output::line(&describe(&plan))?,
    }
    Ok(code(&plan))
}

/// The exit code that tells a plan.
pub fn code(plan: &Plan) -> ExitCode {
    let untold = plan
        .swarms
        .iter()
        .filter(|swarm| swarm.note.is_some())
        .count();
    match (plan.counts()(Action::Unknown) + untold, plan.is_empty()) {
        (0, true) => ExitCode::SUCCESS,
        (0, false) => ExitCode::from(DIFFERS),
        _ => ExitCode::from(PARTLY_FAILED),
    }
}

/// A plan for people, like a diff: machines that are as they are to be are counted only.
pub fn describe(plan: &Plan) -> String {
    let rows = plan
        .machines
        .iter()
        .filter(|row| row.action != Action::Nothing || row.note.is_some());
    let mut text: String = rows.map(describe_row).collect();
    for swarm in plan
        .swarms
        .iter()
        .filter(|swarm| swarm.note.is_some() || !swarm.differences.is_empty())
    {
        text += &describe_one(
            "~",
            &format!("swarm {}", swarm.name),
            "form",
            &swarm.note,
            &swarm.differences,
        );
    }
    let counts = plan.counts();
    let words = [
        (Action::Create, "to create"),
        (Action::Resume, "to resume"),
        (Action::Change, "to change"),
        (Action::Replace, "to replace"),
        (Action::Remove, "to remove"),
        (Action::Blocked, "left alone"),
        (Action::Unknown, "not told"),
        (Action::Nothing, "as they are to be"),
    ];
    let counted = words.iter().filter(|(action, _)| counts(*action) > 0);
    let counted: Vec<String> = counted
        .map(|(action, word)| format!("{} {word}", counts(*action)))
        .collect();
    let counted = match counted.is_empty() {
        true => "no machines".to_owned(),
        false => counted.join(", "),
    };
    text += &format!("fleet {}: {counted}", plan.fleet);
    text
}

fn describe_row(row: &Row) -> String {
    let (mark, word) = match row.action {
        Action::Nothing => ("=", "as it is to be"),
        Action::Create => ("+", "create"),
        Action::Resume => ("~", "resume"),
        Action::Change => ("~", "change"),
        Action::Replace => ("±", "replace"),
        Action::Remove => ("-", "remove"),
        Action::Blocked => ("!", "left alone"),
        Action::Unknown => ("?", "not told"),
    };
    describe_one(mark, &row.name, word, &row.note, &row.differences)
}

fn describe_one(
    mark: &str,
    name: &str,
    word: &str,
    note: &Option<String>,
    differences: &[Difference],
) -> String {
    let mut text = format!("{mark} {name}: {word}");
    if let Some(note) = note {
        text += &format!(" ({})", printable(note).replace('\n', " "));
    }
    text.push('\n');
    for difference in differences {
        for (mark, value) in [("-", &difference.now), ("+", &difference.then)] {
            if let Some(value) = value {
                let value = printable(value).replace('\n', " ");
                text += &format!("    {mark} {} {value}\n", difference.what);
            }
        }
    }
    text
}
