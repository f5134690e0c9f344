//! `berth mount`

use std::process::ExitCode;

use anyhow::Result;
use clap::{Subcommand, ValueHint};
use serde::Serialize;

use super::output;
use super::progress::Screen;
use crate::fleet;
use crate::machine::{self, Berth, Mount};
use crate::supervisor::Status;

/// Show folders of this computer in machines
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A mount is there from start to start until it is removed. Containers get it by its path in the machine: \
                        `docker run -v GUEST:/path`. It comes by virtiofs where the driver and the guest can do it, else \
                        over SSH by sshfs, which is installed in the machine; one that is added to a running machine comes \
                        over SSH until the machine starts anew.\n\n\
                        Limits: over SSH, files seem to belong to the user that berth logs in as, and whoever is in the machine can \
                        do with them what you can; by virtiofs, they seem to be root's, and their modes count. What changes on this computer is seen in the machine, within a second \
                        over SSH, but no inotify event tells of it there: programs that watch files must look again and \
                        again (often called polling). Over SSH, times are whole seconds, and a container that was started \
                        before the connection was lost needs a restart to see the folder again.\n\n\
                        Examples:\n  berth mount add web1 .\n  berth mount add web1 ~/data:/srv/data:ro\n  \
                        berth mount ls web1 --json\n  berth mount rm web1 /srv/data\n  berth create web1 --mount ~/src"
)]
pub struct Args {
    #[command(subcommand)]
    command: MountCommand,
}

#[derive(Debug, Subcommand)]
enum MountCommand {
    /// List a machine's mounts and how they are
    #[command(visible_alias = "list")]
    Ls {
        /// The machine's name
        #[arg(value_name = "NAME", add = clap_complete::engine::ArgValueCandidates::new(fleet::candidates))]
        name: String,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a folder in a machine, at once if it runs
    Add {
        /// The machine's name
        #[arg(value_name = "NAME", add = clap_complete::engine::ArgValueCandidates::new(fleet::candidates))]
        name: String,

        /// The folder, where it goes in the machine (the same path if that is not said), and ro to keep it from changes
        #[arg(value_name = "HOST[:GUEST][:ro]", value_hint = ValueHint::DirPath)]
        mount: String,
    },
    /// Take a folder from a machine; nothing of it is deleted
    Rm {
        /// The machine's name
        #[arg(value_name = "NAME", add = clap_complete::engine::ArgValueCandidates::new(fleet::candidates))]
        name: String,

        /// Where it is in the machine
        #[arg(value_name = "GUEST")]
        guest: String,
    },
}

/// One row of `berth mount ls`; its JSON form is documented and stable.
#[derive(Debug, Serialize)]
struct Row {
    host: String,
    guest: String,
    read_only: bool,
    /// `virtiofs` or `sshfs`; null if it is not mounted now.
    transport: Option<String>,
    /// Why it is not, if the machine runs and it should be.
    error: Option<String>,
}

/// Carries the subcommand out.
pub async fn run(berth: &Berth, args: Args, screen: &Screen) -> Result<ExitCode> {
    match args.command {
        MountCommand::Ls { name, json } => {
            let rows = rows(berth, &name)?;
            if json {
                output::line(&serde_json::to_string_pretty(&rows)?)?;
            } else {
                output::line(&table(rows).trim_fmt())?;
            }
        }
        MountCommand::Add { name, mount } => {
            let mount = Mount::parse(&mount)?;
            let guest = mount.guest.clone();
            let task = screen.task(&name);
            let now = machine::add_mount(berth, &name, mount, &*task).await?;
            task.finish();
            screen.clear();
            if !now {
                eprintln!("{name} does not run: the folder is mounted when it starts");
            }
            output::line(&guest)?;
        }
        MountCommand::Rm { name, guest } => {
            let by = rows(berth, &name)?;
            let task = screen.task(&name);
            machine::remove_mount(berth, &name, &guest, &*task).await?;
            task.finish();
            screen.clear();
            let virtiofs = |row: &Row| row.transport.as_deref() == Some("virtiofs");
            if by.iter().any(|row| row.guest == guest && virtiofs(row)) {
                eprintln!(
                    "it is unmounted; the device by which root in {name} could mount it again goes when {name} stops"
                );
            }
            output::line(&guest)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(berth: &Berth, name: &str) -> Result<Vec<Row>> {
    let record = berth.record(name)?;
    let status = Status::read(&berth.home.machine(name)).unwrap_or_default();
    let row = |mount: Mount| {
        let now = status.mounts.iter().find(|row| row.guest == mount.guest);
        Row {
            host: mount.host.display().to_string(),
            read_only: mount.read_only,
            transport: now.and_then(|row| row.transport.clone()),
            error: now.and_then(|row| row.error.clone()),
            guest: mount.guest,
        }
    };
    Ok(record.mounts.into_iter().map(row).collect())
}

fn table(rows: Vec<Row>) -> comfy_table::Table {
    let mut table = output::table(["HOST", "GUEST", "ACCESS", "NOW"]);
    for row in rows {
        let now = match (row.transport, row.error) {
            (Some(transport), _) => transport,
            (None, Some(error)) => error.lines().next().unwrap_or_default().to_owned(),
            (None, None) => "not mounted".into(),
        };
        let access = if row.read_only { "ro" } else { "rw" };
        table.add_row([row.host, row.guest, access.into(), now]);
    }
    table
}
