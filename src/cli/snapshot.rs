//! `berth snapshot`

use std::process::ExitCode;

use anyhow::Result;
use berth_driver_api::Snapshot;
use clap::Subcommand;
use comfy_table::Table;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::output::{self, Format};
use super::power::BootArgs;
use super::progress::{Screen, print_timings};
use crate::fleet;
use crate::machine::{self, Berth, show_size};

/// Keep machines as they are, and go back to that
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A snapshot of a running machine has its disk and its memory: restored, everything in it goes on from there, \
                  with the clock set. Of a stopped machine it has the disk. What berth knows of the machine, such as its \
                  labels and mounts, is no part of it. Snapshots lie in the machine's disk and go with it; each takes as much \
                  as has changed since, and its memory.\n\n\
                  A machine with a folder of this computer by virtiofs, or that firmware boots (-o boot=efi), has to be \
                  stopped first. Machines of QEMU and libvirt have snapshots (`berth driver ls`).\n\n\
                  Examples:\n  berth snapshot create web1 before-upgrade\n  berth snapshot ls web1 --json\n  \
                  berth snapshot restore web1 before-upgrade\n  berth snapshot rm web1 before-upgrade"
)]
pub struct Args {
    #[command(subcommand)]
    command: SnapshotCommand,
}

#[derive(Debug, clap::Args)]
struct Name {
    /// The machine's name
    #[arg(value_name = "NAME", add = clap_complete::engine::ArgValueCandidates::new(fleet::candidates))]
    name: String,
}

#[derive(Debug, Subcommand)]
enum SnapshotCommand {
    /// Take a snapshot; the machine goes on running
    Create {
        #[command(flatten)]
        machine: Name,

        /// What it is called: letters, digits and - _ . [default: the time]
        #[arg(value_name = "SNAPSHOT")]
        snapshot: Option<String>,
    },
    /// List a machine's snapshots, the oldest first
    #[command(visible_alias = "list")]
    Ls {
        #[command(flatten)]
        machine: Name,

        #[command(flatten)]
        format: Format,
    },
    /// Make a machine what it was; what it is now is lost
    Restore {
        #[command(flatten)]
        machine: Name,

        /// The snapshot
        #[arg(value_name = "SNAPSHOT")]
        snapshot: String,

        #[command(flatten)]
        boot: BootArgs,
    },
    /// Remove snapshots; the machine stays as it is
    Rm {
        #[command(flatten)]
        machine: Name,

        /// The snapshots
        #[arg(value_name = "SNAPSHOT", required = true)]
        snapshots: Vec<String>,
    },
}

/// One row of `berth snapshot ls`; its JSON form is documented and stable.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    taken: Timestamp,
    /// Bytes of memory; null if it has the disk only.
    memory: Option<u64>,
}

/// Carries the subcommand out.
pub async fn run(berth: &Berth, args: Args, screen: &Screen) -> Result<ExitCode> {
    match args.command {
        SnapshotCommand::Create { machine, snapshot } => {
            let task = screen.task(&machine.name);
            let snapshot = snapshot.as_deref();
            let taken = machine::take_snapshot(berth, &machine.name, snapshot, &*task).await?;
            task.finish();
            screen.clear();
            output::line(&taken)?;
        }
        SnapshotCommand::Ls { machine, format } => {
            let all = machine::snapshots(berth, &machine.name).await?;
            let rows: Vec<Row> = all.into_iter().map(row).collect();
            format.print(&rows, |row| row.name.clone(), table)?;
        }
        SnapshotCommand::Restore {
            machine,
            snapshot,
            boot,
        } => {
            let task = screen.task(&machine.name);
            let deadline = boot.deadline();
            machine::restore_snapshot(berth, &machine.name, &snapshot, deadline, &*task).await?;
            let times = task.finish();
            screen.clear();
            if boot.timings {
                print_timings(&machine.name, &times);
            }
            output::line(&machine.name)?;
        }
        SnapshotCommand::Rm { machine, snapshots } => {
            let task = screen.task(&machine.name);
            for snapshot in snapshots {
                machine::remove_snapshot(berth, &machine.name, &snapshot, &*task).await?;
                output::line(&snapshot)?;
            }
            task.finish();
            screen.clear();
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(snapshot: Snapshot) -> Row {
    Row {
        name: snapshot.name,
        taken: Timestamp::from_second(snapshot.taken).unwrap_or_default(),
        memory: snapshot.memory,
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = output::table(["SNAPSHOT", "TAKEN", "MEMORY"]);
    for row in rows {
        let taken = row.taken.to_zoned(TimeZone::system());
        let memory = row.memory.map_or("-".into(), show_size);
        let taken = taken.strftime("%Y-%m-%d %H:%M:%S").to_string();
        table.add_row([row.name.clone(), taken, memory]);
    }
    table
}
