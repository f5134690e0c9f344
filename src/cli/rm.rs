//! `berth rm`

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Result;

use super::each::each;
use super::error::Usage;
use super::output;
use super::progress::Screen;
use crate::fleet::{Selection, select, swarm};
use crate::machine::{self, Berth, check_form};

/// Remove machines with everything that berth made for them
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  berth rm web1\n  berth rm -y -l role=ci\n  berth rm --over --all"
)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,

    /// Only those that go by themselves (`create --ttl`, `--ephemeral`) and whose time is over; does not ask. Berth does
    /// so itself, unless this computer was off
    #[arg(long, conflicts_with = "force")]
    over: bool,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    /// Remove even what cannot be read or asked; a machine that is not there is no error; implies --yes
    #[arg(short, long)]
    force: bool,
}

/// Removes them.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    super::require_selection(&args.selection)?;
    let names = doomed(berth, args).await?;
    if names.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    warn_of_swarms(berth, &names)?;
    if args.over {
        return remove_those_over(berth, &names, screen).await;
    }
    if !args.yes && !args.force && !confirmed(berth, &names)? {
        eprintln!("nothing was removed");
        return Ok(ExitCode::from(1));
    }
    let (done, code) = each(&names, screen, async |name: String, task| {
        Ok(machine::remove(berth, &name, args.force, &*task).await?)
    })
    .await;
    swarm::forget_gone(berth)?;
    output::lines(done.into_iter().map(|(name, ())| name))?;
    Ok(code)
}

async fn remove_those_over(berth: &Berth, names: &[String], screen: &Screen) -> Result<ExitCode> {
    let (done, code) = each(names, screen, async |name: String, task| {
        Ok(machine::remove_if_over(berth, &name, &*task).await?)
    })
    .await;
    swarm::forget_gone(berth)?;
    let gone = done.into_iter().filter(|(_, gone)| *gone);
    output::lines(gone.map(|(name, _)| name))?;
    Ok(code)
}

/// A node that is only gone is still counted: a swarm that loses managers so may lose its quorum.
fn warn_of_swarms(berth: &Berth, names: &[String]) -> Result<()> {
    for swarm in swarm::names(berth)? {
        // One that cannot be read must not keep its machines from being removed.
        let Ok(Some(swarm)) = swarm::Swarm::find(berth, &swarm) else {
            continue;
        };
        let (going, staying): (Vec<&str>, Vec<&str>) = swarm
            .machines
            .keys()
            .map(String::as_str)
            .partition(|name| names.iter().any(|going| going == name));
        let staying = staying
            .into_iter()
            .filter(|name| berth.home.has_traces(name))
            .collect::<Vec<_>>();
        if !going.is_empty() && !staying.is_empty() {
            eprintln!(
                "warning: {} in swarm {}, which still counts on it: `berth swarm leave {}` first, or with --force afterwards",
                match going.as_slice() {
                    [one] => format!("{one} is"),
                    many => format!("{} are", many.join(", ")),
                },
                swarm.name,
                going.join(" ")
            );
        }
    }
    Ok(())
}

/// Machines by name may be there in pieces that no listing shows; `remove` itself knows.
async fn doomed(berth: &Berth, args: &Args) -> Result<Vec<String>> {
    let mut selection = args.selection.clone();
    if selection.is_names_only() {
        selection
            .names
            .retain(|name| !args.force || berth.home.has_traces(name));
        for name in &selection.names {
            if check_form(name).is_err() || !berth.home.has_traces(name) {
                return Err(berth.no_such_machine(name).into());
            }
        }
        selection.names.sort();
        selection.names.dedup();
        return Ok(selection.names);
    }
    Ok(select(berth, &selection, super::ASK_DEADLINE).await?)
}

fn confirmed(berth: &Berth, names: &[String]) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Usage("there is no terminal to ask on: say --yes".into()).into());
    }
    // A host that was adopted was there before and stays.
    let adopted = |name: &String| {
        berth
            .record(name)
            .is_ok_and(|record| record.image.is_none())
    };
    match names.iter().all(adopted) {
        true => eprint!("Forget {}? The host itself stays. [y/N] ", names.join(", ")),
        false => eprint!("Remove {} with all data in it? [y/N] ", names.join(", ")),
    }
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
