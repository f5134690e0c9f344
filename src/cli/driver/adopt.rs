//! `berth driver adopt`

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::Result;

use crate::cli::each::each;
use crate::cli::error::{NotFound, Usage};
use crate::cli::output;
use crate::cli::pair::pair;
use crate::cli::power::BootArgs;
use crate::cli::progress::Screen;
use crate::machine::{Berth, Lost, adopt_lost, lost};

/// Find machines again whose records on this computer are lost, and take them over
///
/// Without names it lists the machines of berth's that the hypervisor has and this berth does not know, and changes
/// nothing. A machine that is taken over keeps its disk, its engine and its containers, gets a new key and a new host key
/// from berth, and is booted to take them. What berth did not make is never listed and never touched.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  berth driver adopt libvirt\n  berth driver adopt libvirt web1\n  berth driver adopt libvirt --all --restart\n  \
                  berth driver adopt libvirt web1 -o uri=qemu+ssh://root@server/system"
)]
pub struct Args {
    /// The driver's name
    #[arg(value_name = "DRIVER")]
    driver: String,

    /// The machines to take over
    #[arg(value_name = "NAME", conflicts_with = "all")]
    names: Vec<String>,

    /// All that this computer made and lost
    #[arg(long)]
    all: bool,

    /// Shut down and boot those that are up, too
    #[arg(long)]
    restart: bool,

    /// A driver option that says which hypervisor is looked at (repeatable)
    #[arg(short = 'o', long = "option", value_name = "KEY=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,

    /// List as JSON
    #[arg(long, conflicts_with_all = ["names", "all"])]
    json: bool,

    #[command(flatten)]
    boot: BootArgs,
}

/// Carries it out.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    let options = args.options.iter().cloned().collect();
    let found = lost(berth, &args.driver, &options).await?;
    if args.names.is_empty() && !args.all {
        return list(&found, args.json);
    }
    let chosen = match args.all {
        true => found.into_iter().filter(Lost::is_ours).collect(),
        false => named(found, &args.names)?,
    };
    let names: Vec<String> = chosen.iter().map(|one| one.name.clone()).collect();
    let chosen = Mutex::new(chosen);
    let (done, code) = each(&names, screen, async |name: String, task| {
        let taken = {
            let mut chosen = chosen.lock().unwrap_or_else(PoisonError::into_inner);
            let place = chosen.iter().position(|one| one.name == name);
            place.map(|place| chosen.swap_remove(place))
        };
        if let Some(one) = taken {
            adopt_lost(berth, one, args.restart, args.boot.deadline(), &*task).await?;
        }
        Ok(task.finish())
    })
    .await;
    crate::cli::power::finish(done, args.boot.timings, code)
}

/// Those of `names`, each there once.
fn named(found: Vec<Lost>, names: &[String]) -> Result<Vec<Lost>> {
    for (place, name) in names.iter().enumerate() {
        let short: String = name.chars().take(80).collect();
        match found.iter().filter(|one| one.name == *name).count() {
            0 => {
                return Err(NotFound(format!("the hypervisor has no lost machine {short}")).into());
            }
            1 if names[..place].contains(name) => {
                return Err(Usage(format!("{short} is named twice")).into());
            }
            1 => {}
            many => {
                let told =
                    format!("the hypervisor has {many} lost machines that are called {short}");
                return Err(Usage(told).into());
            }
        }
    }
    Ok(found
        .into_iter()
        .filter(|one| names.contains(&one.name))
        .collect())
}

fn list(found: &[Lost], json: bool) -> Result<ExitCode> {
    if json {
        output::line(&serde_json::to_string_pretty(found)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(["NAME", "STATE", "MADE ON", "ID", "IN THE WAY"]);
    for one in found {
        table.add_row([
            one.name.as_str(),
            one.state.word(),
            one.computer.as_deref().unwrap_or_default(),
            &one.id.to_string(),
            one.obstacle.as_deref().unwrap_or_default(),
        ]);
    }
    output::line(&table.trim_fmt())?;
    Ok(ExitCode::SUCCESS)
}
