//! `berth up`

use std::process::ExitCode;

use anyhow::Result;

use super::create::SpecArgs;
use super::output;
use super::progress::{Screen, print_timings};
use super::{doctor, use_};
use crate::machine::{self, Berth, DEFAULT_NAME, Error};

/// From nothing to a working container host: checks this computer, gets the image, makes the machine, points docker at it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "On a machine that exists, `up` starts it, or finishes its create, and points docker at it.\n\n\
                        Examples:\n  berth up\n  berth up --yes          install what is missing without asking\n  \
                        berth up big --cpus 8 --memory 16G"
)]
pub struct Args {
    /// The machine's name
    #[arg(default_value = DEFAULT_NAME)]
    name: String,

    #[command(flatten)]
    spec: SpecArgs,

    /// Install what this computer lacks without asking
    #[arg(short, long)]
    yes: bool,
}

/// Brings the machine up.
pub async fn run(berth: &Berth, args: Args, screen: &Screen) -> Result<ExitCode> {
    let name = &args.name;
    machine::check_name(name)?;
    let task = screen.task(name);
    let deadline = args.spec.boot_deadline();
    if berth.home.machine(name).path().exists() {
        match machine::start(berth, name, deadline, &*task).await {
            Err(Error::Unfinished { operation, .. }) if operation == "create" => {
                machine::resume_create(berth, name, deadline, &*task).await?;
            }
            other => other?,
        }
    } else {
        let request = args.spec.request(name)?;
        // Docker's own context of that name is noticed before anything is installed.
        berth.docker.check_free(name, None).map_err(Error::from)?;
        doctor::make_ready(berth, &request, args.yes, screen, &*task).await?;
        machine::create(berth, &request, &*task).await?;
    }
    let timings = task.finish();
    screen.clear();
    if args.spec.timings {
        print_timings(name, &timings);
    }
    let record = berth.record(name)?;
    if record.installed.is_some() {
        use_::point_at(berth, &record)?;
        eprintln!("{name} is up, and docker is pointed at it: try `docker version`");
    } else {
        eprintln!("{name} is up: try `berth ssh {name}`");
    }
    output::line(name)?;
    Ok(ExitCode::SUCCESS)
}
