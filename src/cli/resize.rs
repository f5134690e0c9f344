//! `berth resize`

use std::process::ExitCode;

use anyhow::Result;
use berth_driver_api::Progress;

use super::each::each;
use super::error::Usage;
use super::power::{BootArgs, GraceArgs, finish, named};
use super::progress::Screen;
use crate::fleet::Selection;
use crate::machine::{self, Berth, Restart, Sizes, parse_size};

/// Give machines other CPUs, memory or disks
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Machines that are off have their new sizes when they start. Those that run get at once what their \
                  hypervisor can give them while they run (a larger disk with QEMU and libvirt; memory with libvirt, up to \
                  -o max-memory), their guests take it up, and what waits for the next start is said; with --restart they \
                  are restarted for it. Disks only grow, and a machine that has snapshots keeps its size.\n\n\
                  Examples:\n  berth resize web1 --disk 60G\n  berth resize web1 web2 --cpus 4 --memory 8G --restart\n  \
                  berth resize -l role=ci --memory 4G"
)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,

    /// Virtual CPUs
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,

    /// Memory, such as 2G or 512M
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,

    /// Disk, such as 40G: never less than it has
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    disk: Option<u64>,

    /// Restart machines that run, so that they have all of it
    #[arg(long)]
    restart: bool,

    #[command(flatten)]
    grace: GraceArgs,

    #[command(flatten)]
    boot: BootArgs,
}

/// `berth resize`
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    let sizes = Sizes {
        cpus: args.cpus,
        memory: args.memory,
        disk: args.disk,
    };
    if sizes.is_empty() {
        return Err(Usage("say what is to change: --cpus, --memory or --disk".into()).into());
    }
    let restart = args.restart.then(|| Restart {
        grace: args.grace.deadline(),
        boot: args.boot.deadline(),
    });
    let names = named(berth, &args.selection).await?;
    let (done, code) = each(&names, screen, async |name: String, task| {
        let waits = machine::resize(berth, &name, &sizes, restart, &*task).await?;
        if !waits.is_empty() {
            let waits: Vec<_> = waits.iter().map(ToString::to_string).collect();
            task.note(&format!(
                "has its new {} after `berth restart {name}`",
                waits.join(" and ")
            ));
        }
        Ok(task.finish())
    })
    .await;
    finish(done, args.boot.timings, code)
}
