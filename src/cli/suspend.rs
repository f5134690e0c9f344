//! `berth suspend`, `berth resume`

use std::process::ExitCode;

use anyhow::Result;

use super::each::each;
use super::power::{BootArgs, finish, named};
use super::progress::Screen;
use crate::fleet::Selection;
use crate::machine::{self, Berth};

/// Freeze machines to disk, to go on from there
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Memory and devices are written to the machine's folder, and nothing of it runs any more: this computer \
                  can be switched off. `berth resume` or `berth start` has everything in it go on from where it was, with \
                  the clock set; connections to the outside are lost by then. `berth stop` has it go on and shut down, \
                  `berth kill` gives its memory up.\n\n\
                  A machine with a folder of this computer by virtiofs cannot be suspended, which is said before anything \
                  is done. Machines of QEMU and libvirt can (`berth driver ls`).\n\n\
                  Examples:\n  berth suspend web1\n  berth suspend --all\n  berth ls --state suspended"
)]
pub struct SuspendArgs {
    #[command(flatten)]
    selection: Selection,
}

/// Have suspended machines go on from where they were
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A machine that runs is a success; one that is off is not: `berth start` boots it.\n\n\
                  Examples:\n  berth resume web1\n  berth resume --state suspended --timings"
)]
pub struct ResumeArgs {
    #[command(flatten)]
    selection: Selection,

    #[command(flatten)]
    boot: BootArgs,
}

/// `berth suspend`
pub async fn suspend(berth: &Berth, args: &SuspendArgs, screen: &Screen) -> Result<ExitCode> {
    let names = named(berth, &args.selection).await?;
    let (done, code) = each(&names, screen, async |name: String, task| {
        machine::suspend(berth, &name, &*task).await?;
        Ok(task.finish())
    })
    .await;
    finish(done, false, code)
}

/// `berth resume`
pub async fn resume(berth: &Berth, args: &ResumeArgs, screen: &Screen) -> Result<ExitCode> {
    let deadline = args.boot.deadline();
    let names = named(berth, &args.selection).await?;
    let (done, code) = each(&names, screen, async |name: String, task| {
        machine::resume(berth, &name, deadline, &*task).await?;
        Ok(task.finish())
    })
    .await;
    finish(done, args.boot.timings, code)
}
