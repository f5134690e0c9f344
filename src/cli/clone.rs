//! `berth clone`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use super::each::each;
use super::error::Usage;
use super::output;
use super::progress::{Screen, print_timings};
use crate::fleet;
use crate::machine::{self, Berth};

/// Make machines that are copies of one of yours
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The copy has the original's disk, with the images, containers and volumes in it, its size, labels, mounts and \
                  engine settings. It boots as a machine of its own: host key, the key that it lets in, host name, machine \
                  id, network address, engine id are its own; it is in no swarm and has no TLS endpoint. Keys that you put \
                  into the original's authorized_keys yourself are let in by the copy too, and secrets in its files are in both.\n\n\
                  The original may run: its disk is copied as it is at one moment, after it wrote back what it had in memory, \
                  and the copy boots from that. The two share nothing afterwards. Machines of QEMU and libvirt can be copied \
                  (`berth driver ls`). A copy that broke off is finished by `berth create --resume NAME`.\n\n\
                  Examples:\n  berth clone web1 web2\n  berth clone golden ci1 ci2 ci3"
)]
pub struct Args {
    /// The machine that is copied
    #[arg(value_name = "SOURCE", add = clap_complete::engine::ArgValueCandidates::new(fleet::candidates))]
    source: String,

    /// What the copies are called
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,

    /// How long a guest may take to answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,

    /// Show where the time went
    #[arg(long)]
    timings: bool,
}

/// Makes them.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    let mut names = args.names.clone();
    names.sort();
    names.dedup();
    if names.len() < args.names.len() {
        return Err(Usage("a name is given twice".into()).into());
    }
    let deadline = Duration::from_secs(args.timeout);
    let (done, code) = each(&names, screen, async |name: String, task| {
        machine::clone(berth, &args.source, &name, deadline, &*task).await?;
        Ok(task.finish())
    })
    .await;
    for (name, times) in done.iter().filter(|_| args.timings) {
        print_timings(name, times);
    }
    output::lines(done.into_iter().map(|(name, _)| name))?;
    Ok(code)
}
