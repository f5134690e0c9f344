//! `berth swarm init`, `join`, `leave` and `replace`

use std::process::ExitCode;

use anyhow::Result;

use super::super::error::Usage;
use super::super::output;
use super::super::progress::Screen;
use crate::fleet::swarm::{
    self, Formed, Swarm, Wish, check_managers, default_managers, form, names, of_machine,
};
use crate::fleet::{Selection, candidates, select};
use crate::machine::Berth;

/// Make running machines one swarm
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The machines named first become managers. A docker context of the swarm's name leads to one of them; \
                        `berth swarm status` has it follow another one when that dies.\n\
                        Doing it again goes on where it broke off, takes in machines that are new, and brings the managers \
                        to their number. While they are in a swarm, engines are without live-restore: Docker allows no \
                        swarm with it.\n\n\
                        Examples:\n  berth swarm init web1 web2 web3\n  \
                        berth swarm init 'web*' --managers 3 --name prod\n  berth use prod && docker node ls"
)]
pub struct InitArgs {
    #[command(flatten)]
    selection: Selection,

    /// The swarm's name, and its docker context's
    #[arg(long, value_name = "SWARM", default_value = "swarm")]
    name: String,

    /// How many machines decide, an odd number [default: 1 of up to two machines, 3 of up to six, else 5]
    #[arg(long, value_name = "N")]
    managers: Option<usize>,

    /// Print JSON: joined, promoted, demoted
    #[arg(long)]
    json: bool,
}

/// Have machines join a swarm
#[derive(Debug, clap::Args)]
#[command(
    after_help = "They join as workers, or with --manager as managers, of which there must be an odd number then.\n\n\
                  Examples:\n  berth swarm join web4 web5\n  berth swarm join --manager web4 web5 --swarm prod"
)]
pub struct JoinArgs {
    #[command(flatten)]
    selection: Selection,

    /// The swarm, if there are several
    #[arg(long, value_name = "SWARM")]
    swarm: Option<String>,

    /// As managers
    #[arg(long)]
    manager: bool,

    /// Print JSON: joined, promoted, demoted
    #[arg(long)]
    json: bool,
}

/// Have machines leave their swarm
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What runs on them moves to the others first, and a worker takes the place of a manager. The last ones end \
                        the swarm.\n\n\
                        Examples:\n  berth swarm leave web4\n  berth swarm leave --force web2    it is dead\n  \
                        berth swarm leave 'web*'          the end of the swarm"
)]
pub struct LeaveArgs {
    #[command(flatten)]
    selection: Selection,

    /// Take those that do not answer off the swarm's list, do not insist that containers move, and have a machine leave even
    /// a swarm that berth does not know
    #[arg(short, long)]
    force: bool,

    /// Print JSON: left, promoted, demoted
    #[arg(long)]
    json: bool,
}

/// Put a machine into the place of another one, dead or alive
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A dead manager is taken off the list first, then the new machine becomes one: the others decide all the \
                        while. If the new one is a worker of the swarm it is promoted.\n\n\
                        Examples:\n  berth swarm replace web2 web5"
)]
pub struct ReplaceArgs {
    /// The machine that goes
    #[arg(value_name = "OLD", add = clap_complete::engine::ArgValueCandidates::new(candidates))]
    old: String,

    /// The machine that comes
    #[arg(value_name = "NEW", add = clap_complete::engine::ArgValueCandidates::new(candidates))]
    new: String,

    /// Print JSON: joined, promoted, demoted
    #[arg(long)]
    json: bool,
}

/// Makes the swarm.
pub async fn init(berth: &Berth, args: &InitArgs, screen: &Screen) -> Result<ExitCode> {
    let machines = selected(berth, &args.selection).await?;
    let managers = args.managers.unwrap_or(default_managers(machines.len()));
    let wish = Wish {
        name: args.name.clone(),
        machines,
        managers,
    };
    let formed = shaped(berth, &wish, screen).await?;
    told(args.json, &formed, &args.name)
}

/// Takes machines in.
pub async fn join(berth: &Berth, args: &JoinArgs, screen: &Screen) -> Result<ExitCode> {
    let machines = selected(berth, &args.selection).await?;
    let swarm = match &args.swarm {
        Some(name) => Swarm::read(berth, name)?,
        None => only(berth)?,
    };
    let new = machines
        .iter()
        .filter(|name| !swarm.machines.contains_key(*name))
        .count();
    let managers = swarm.managers + if args.manager { new } else { 0 };
    check_managers(managers, swarm.machines.len() + new)?;
    let wish = Wish {
        name: swarm.name.clone(),
        machines,
        managers,
    };
    let formed = shaped(berth, &wish, screen).await?;
    told(args.json, &formed, &swarm.name)
}

/// Lets machines go.
pub async fn leave(berth: &Berth, args: &LeaveArgs, screen: &Screen) -> Result<ExitCode> {
    let machines = leaving(berth, &args.selection).await?;
    let task = screen.task("swarm");
    let left = swarm::leave(berth, &machines, args.force, &*task).await;
    task.finish();
    screen.clear();
    let left = left?;
    if args.json {
        output::line(&serde_json::to_string_pretty(&left)?)?;
    } else {
        roles(&left.promoted, &left.demoted);
        output::lines(left.left)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts one into another's place.
pub async fn replace(berth: &Berth, args: &ReplaceArgs, screen: &Screen) -> Result<ExitCode> {
    if args.old == args.new {
        return Err(
            Usage("name two machines: the one that goes and the one that comes".into()).into(),
        );
    }
    let task = screen.task("swarm");
    let formed = swarm::replace(berth, &args.old, &args.new, &*task).await;
    task.finish();
    screen.clear();
    let formed = formed?;
    if args.json {
        output::line(&serde_json::to_string_pretty(&formed)?)?;
    } else {
        roles(&formed.promoted, &formed.demoted);
        output::line(&args.new)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn selected(berth: &Berth, selection: &Selection) -> Result<Vec<String>> {
    super::super::require_selection(selection)?;
    Ok(select(berth, selection, super::super::ASK_DEADLINE).await?)
}

/// A machine that was removed may still be on its swarm's list.
async fn leaving(berth: &Berth, selection: &Selection) -> Result<Vec<String>> {
    if !selection.is_names_only() {
        return selected(berth, selection).await;
    }
    let mut names = selection.names.clone();
    names.sort();
    names.dedup();
    for name in &names {
        if of_machine(berth, name)?.is_none() {
            berth.record(name)?;
        }
    }
    Ok(names)
}

async fn shaped(berth: &Berth, wish: &Wish, screen: &Screen) -> Result<Formed> {
    let task = screen.task(&wish.name);
    let formed = form(berth, wish, &*task).await;
    task.finish();
    screen.clear();
    Ok(formed?)
}

/// The only swarm that there is.
fn only(berth: &Berth) -> Result<Swarm> {
    match names(berth)?.as_slice() {
        [name] => Ok(Swarm::read(berth, name)?),
        [] => Err(Usage("there is no swarm yet: `berth swarm init` makes one".into()).into()),
        many => Err(Usage(format!(
            "say which swarm with --swarm: there are {}",
            many.join(", ")
        ))
        .into()),
    }
}

fn told(json: bool, formed: &Formed, swarm: &str) -> Result<ExitCode> {
    if json {
        output::line(&serde_json::to_string_pretty(formed)?)?;
    } else {
        roles(&formed.promoted, &formed.demoted);
        if formed.is_unchanged() {
            eprintln!("swarm {swarm} is as it should be");
        } else {
            eprintln!("`berth use {swarm}` points docker at it");
        }
        output::lines(formed.joined.iter().cloned())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn roles(promoted: &[String], demoted: &[String]) {
    for (names, role) in [(promoted, "a manager"), (demoted, "a worker")] {
        for name in names {
            eprintln!("{name} is {role} now");
        }
    }
}
