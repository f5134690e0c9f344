//! `berth apply`

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Error, Result};
use futures_util::StreamExt;
use serde::Serialize;

use super::error::{Interrupted, Usage};
use super::fates::Fates;
use super::interrupt;
use super::output;
use super::plan::{FileArgs, code, describe};
use super::progress::Screen;
use super::tally::Tally;
use super::words::{INTERRUPTED, PARTLY_FAILED};
use crate::fleet::apply::{Under, Work};
use crate::fleet::file::Fleet;
use crate::fleet::plan::{Action, Plan, Row};
use crate::fleet::rollout::{self, Ending, Heard, Job, Rollout, Step, Task};
use crate::fleet::{Bounds, Ended, Stop, crew};
use crate::machine::Berth;

/// In seconds.
const BOOT_DEADLINE: u64 = 600;

/// Make machines, change, replace and remove them until they are as a fleet file says
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What `berth plan` shows is done, and nothing else: new machines at once, then changes in the batches of the \
                  file's [rollout], then swarms, at last removals. What breaks off goes on when the file is applied again.\n\
                  Machines are removed and replaced, with all data in them, only where --yes is said, and never those that \
                  are marked protect; that holds also for those that the file has no more.\n\n\
                  Exit codes: 0 all is as it is to be, 5 some machine is not.\n\n\
                  Examples:\n  berth apply --dry-run\n  berth apply -f prod.toml\n  berth apply -f prod.toml --yes --json"
)]
pub struct Args {
    #[command(flatten)]
    file: FileArgs,

    /// Do not ask, and remove and replace machines where that is to be done
    #[arg(short, long)]
    yes: bool,

    /// Only show what would be done, as `berth plan` does
    #[arg(long)]
    dry_run: bool,

    /// Print what was done as JSON: fleet, machines with name, action, done, error
    #[arg(long)]
    json: bool,

    /// How long a new guest may take to answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = BOOT_DEADLINE, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

#[derive(Serialize)]
struct Told<'a> {
    fleet: &'a str,
    machines: Vec<Outcome<'a>>,
}

/// What became of a machine.
#[derive(Serialize)]
struct Outcome<'a> {
    name: &'a str,
    action: Action,
    done: bool,
    error: Option<String>,
}

impl Args {
    /// A file that was applied before and not to its end, to be applied again.
    pub fn again(file: &Path, yes: bool, json: bool) -> Self {
        Args {
            file: FileArgs::of(file),
            yes,
            dry_run: false,
            json,
            timeout: BOOT_DEADLINE,
        }
    }
}

/// Does it.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    let fleet = args.file.read()?;
    let stop = Stop::default();
    interrupt::listen(stop.clone())?;
    let asking = args.file.plan(berth, &fleet, screen);
    let mut plan = tokio::select! {
        plan = asking => plan?,
        () = stop.starting.cancelled() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    if args.dry_run {
        match args.json {
            true => output::line(&serde_json::to_string_pretty(&plan)?)?,
            false => output::line(&describe(&plan))?,
        }
        return Ok(code(&plan));
    }
    eprintln!("{}", describe(&plan));
    let work = |row: &&Row| {
        !matches!(
            row.action,
            Action::Nothing | Action::Blocked | Action::Unknown
        )
    };
    let forms = plan
        .swarms
        .iter()
        .any(|swarm| !swarm.differences.is_empty());
    if !args.yes && (forms || plan.machines.iter().any(|row| work(&row))) {
        match agreed(berth, args, &fleet, plan, screen).await? {
            Some(agreed) => plan = agreed,
            None => {
                eprintln!("nothing was done");
                return Ok(ExitCode::from(1));
            }
        }
    }
    let bounds = Bounds {
        parallel: args.file.parallel(),
        timeout: None,
        deadline: None,
        stop,
    };
    let run = Run {
        work: Work {
            berth,
            fleet: &fleet,
            boot_deadline: Duration::from_secs(args.timeout),
        },
        yes: args.yes,
        screen,
        bounds: &bounds,
        tally: Tally::new(None, plan.machines.len()),
        outcomes: RefCell::default(),
    };
    let (mut fates, trouble) = run.all(&plan).await;
    screen.clear();
    let outcomes = run.outcomes.into_inner();
    let told: Vec<Outcome> = plan
        .machines
        .iter()
        .map(|row| outcome(row, &outcomes))
        .collect();
    let all_done = trouble.is_none() && told.iter().all(|told| told.done);
    if args.json {
        let told = Told {
            fleet: &plan.fleet,
            machines: told,
        };
        output::line(&serde_json::to_string_pretty(&told)?)?;
    } else {
        let done = told
            .iter()
            .filter(|told| told.done && told.action != Action::Nothing);
        output::lines(done.map(|told| format!("{} {}", told.name, past(told.action))))?;
    }
    fates.print_errors();
    if let Some(trouble) = &trouble {
        super::report::print(trouble);
    }
    let summary = fates.in_order();
    if !summary.is_empty() {
        eprintln!("berth: {}", run.tally.summary(&summary));
    }
    Ok(match (bounds.stop.starting.is_cancelled(), all_done) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(PARTLY_FAILED),
    })
}

/// Asks the user. Machines may have changed meanwhile: then what is to be done is shown and asked again.
async fn agreed(
    berth: &Berth,
    args: &Args,
    fleet: &Fleet,
    mut plan: Plan,
    screen: &Screen,
) -> Result<Option<Plan>> {
    loop {
        let doomed = plan.doomed();
        if !doomed.is_empty() {
            let reason = format!(
                "this removes {} with all data: say --yes",
                doomed.join(", ")
            );
            return Err(Usage(reason).into());
        }
        if !std::io::stdin().is_terminal() {
            return Err(Usage("there is no terminal to ask on: say --yes".into()).into());
        }
        eprint!("Do it? [y/N] ");
        std::io::stderr().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(None);
        }
        let now = args.file.plan(berth, fleet, screen).await?;
        if now == plan {
            return Ok(Some(plan));
        }
        eprintln!(
            "the machines have changed meanwhile; now it is this:\n{}",
            describe(&now)
        );
        plan = now;
    }
}

struct Run<'a> {
    work: Work<'a>,
    yes: bool,
    screen: &'a Screen,
    bounds: &'a Bounds,
    tally: Tally,
    /// Why machines failed, or that they did not.
    outcomes: RefCell<HashMap<String, Option<String>>>,
}

impl Run<'_> {
    /// Makes, then changes, then removes. Tells what stands in the way of the changes as a whole.
    async fn all(&self, plan: &Plan) -> (Fates, Option<Error>) {
        let mut fates = Fates::default();
        let of = |actions: &[Action]| -> Vec<(usize, &Row)> {
            let rows = plan.machines.iter().enumerate();
            rows.filter(|(_, row)| actions.contains(&row.action))
                .collect()
        };
        self.at_once(&of(&[Action::Nothing, Action::Create]), &mut fates)
            .await;
        let changed = of(&[Action::Resume, Action::Change, Action::Replace]);
        let trouble = match changed.is_empty() {
            true => None,
            false => self.in_batches(&changed, &mut fates).await.err(),
        };
        let trouble = match trouble {
            None => self.form(plan).await.err(),
            trouble => trouble,
        };
        if trouble.is_none() {
            self.at_once(&of(&[Action::Remove]), &mut fates).await;
        }
        (fates, trouble)
    }

    /// Makes the swarms that are not as they are to be.
    async fn form(&self, plan: &Plan) -> Result<()> {
        for swarm in plan
            .swarms
            .iter()
            .filter(|swarm| !swarm.differences.is_empty())
        {
            let task = self.screen.task(&swarm.name);
            let formed = tokio::select! {
                formed = self.work.form(&swarm.name, &*task) => formed,
                () = self.bounds.stop.starting.cancelled() => return Err(Interrupted.into()),
            };
            task.finish();
            formed?;
        }
        Ok(())
    }

    async fn at_once(&self, rows: &[(usize, &Row)], fates: &mut Fates) {
        let names: Vec<String> = rows.iter().map(|(_, row)| row.name.clone()).collect();
        let one = |at: usize, _: &str| {
            let row = rows.get(at).map(|(_, row)| *row);
            async move { self.one(row, None).await }
        };
        let mut endings = std::pin::pin!(crew(&names, self.bounds, one));
        while let Some(mut ended) = endings.next().await {
            let row = rows.get(ended.at);
            ended.at = row.map_or(ended.at, |(at, _)| *at);
            self.heard(ended, row.map(|(_, row)| *row), fates);
        }
    }

    /// As a rollout, so that no other one has the machines meanwhile.
    async fn in_batches(&self, rows: &[(usize, &Row)], fates: &mut Fates) -> Result<()> {
        let fleet = self.work.fleet;
        let home = &self.work.berth.home;
        let file = std::path::absolute(&fleet.path)?;
        let yes = self.yes;
        let task = Task::Apply { file, yes };
        let steps = rows.iter().map(|(_, row)| Step {
            name: row.name.clone(),
            batch: 0,
            now: String::new(),
            then: String::new(),
            wish: None,
        });
        let plan = rollout::Plan::new(
            task,
            fleet.gate.clone(),
            fleet.pace.clone(),
            steps.collect(),
        );
        give_up_earlier(self.work.berth, &plan)?;
        let rollout = Rollout::begin(home, plan).await?;
        let story = rollout.story()?;
        let (task, gate) = (&rollout.plan.task, fleet.gate.as_deref());
        let job = Job::new(self.work.berth, task, gate, None);
        let one = |at: usize, _: &str| {
            let row = rows.get(at).map(|(_, row)| *row);
            let under = story.fared.get(at).map(|before| Under {
                job: &job,
                rollout: &rollout,
                before,
            });
            async move { self.one(row, under).await }
        };
        let ending = rollout::walk(&rollout, self.bounds, one, |heard| match heard {
            Heard::Ended(mut ended) => {
                let row = rows.get(ended.at);
                ended.at = row.map_or(ended.at, |(at, _)| *at);
                self.heard(ended, row.map(|(_, row)| *row), fates);
            }
            Heard::Batch(..) => {}
            Heard::Pause(rest) => eprintln!("berth: resting for {} s", rest.as_secs()),
        });
        let ending = ending.await?;
        if ending != Ending::Finished {
            // What is left is found out anew when the file is applied again.
            rollout
                .journal
                .note(rollout::Event::Aborted, None, None, None)?;
        }
        match ending {
            Ending::TooManyFailed => Err(anyhow::anyhow!(
                "stopped because of failures: machines that had not begun are as they were, and nothing was removed; mend \
                 what failed and apply the file again"
            )),
            Ending::Late | Ending::Interrupted | Ending::Finished => Ok(()),
        }
    }

    async fn one(&self, row: Option<&Row>, under: Option<Under<'_>>) -> Result<i32> {
        let Some(row) = row else { return Ok(0) };
        let task = self.screen.task(&row.name);
        let done = self.work.carry_out(row, under.as_ref(), &*task).await;
        task.finish();
        done?;
        Ok(0)
    }

    fn heard(&self, ended: Ended<Result<i32>>, row: Option<&Row>, fates: &mut Fates) {
        let name = ended.name.clone();
        let quiet = row.is_some_and(|row| row.action == Action::Nothing);
        // Those with which nothing was to be done are no part of the summary, unless even that failed.
        if quiet && matches!(ended.fate, crate::fleet::Fate::Done(Ok(_))) {
            self.outcomes.borrow_mut().insert(name, None);
            return;
        }
        let (_, error) = fates.add(ended);
        self.outcomes.borrow_mut().insert(name, error);
    }
}

/// Ends what an apply left that broke off: what of it is still to be done is in the new plan.
fn give_up_earlier(berth: &Berth, plan: &rollout::Plan) -> Result<()> {
    for seen in rollout::list(&berth.home)? {
        let open = seen.story.ended.is_none() && seen.running.is_none();
        if open && file_of(&seen.plan) == file_of(plan) {
            let earlier = Rollout::reopen(&berth.home, &seen.plan.id)?;
            earlier
                .journal
                .note(rollout::Event::Aborted, None, None, None)?;
        }
    }
    Ok(())
}

fn file_of(plan: &rollout::Plan) -> Option<&Path> {
    match &plan.task {
        Task::Apply { file, .. } => Some(file),
        _ => None,
    }
}

fn outcome<'a>(row: &'a Row, outcomes: &HashMap<String, Option<String>>) -> Outcome<'a> {
    let (done, error) = match (row.action, outcomes.get(&row.name)) {
        (Action::Blocked | Action::Unknown, _) => (false, row.note.clone()),
        (_, Some(error)) => (error.is_none(), error.clone()),
        (_, None) => (false, Some("not begun".into())),
    };
    Outcome {
        name: &row.name,
        action: row.action,
        done,
        error,
    }
}

fn past(action: Action) -> &'static str {
    match action {
        Action::Create => "created",
        Action::Resume => "finished",
        Action::Change => "changed",
        Action::Replace => "replaced",
        Action::Remove => "removed",
        Action::Nothing | Action::Blocked | Action::Unknown => "left alone",
    }
}
