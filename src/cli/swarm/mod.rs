//! `berth swarm`

mod change;
mod status;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use super::progress::Screen;
use crate::machine::Berth;

/// Make machines one Docker swarm, and keep its managers able to decide
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Members reach each other at addresses of their own: User Mode Linux machines with -o network=shared:GROUP, \
                        QEMU's with -o network=bridge:IF, adopted hosts. Managers listen on TCP port 2377 by mutual TLS; \
                        nodes talk on 7946 and carry overlay networks by UDP 4789.\n\n\
                        Examples:\n  berth swarm init web1 web2 web3 web4 --name prod\n  docker --context prod node ls\n  \
                        berth swarm join web5\n  berth swarm replace web2 web6\n  berth swarm status"
)]
pub struct Args {
    #[command(subcommand)]
    command: SwarmCommand,
}

#[derive(Debug, Subcommand)]
enum SwarmCommand {
    Init(change::InitArgs),
    Join(change::JoinArgs),
    Leave(change::LeaveArgs),
    Replace(change::ReplaceArgs),
    Status(status::Args),
}

/// Carries the subcommand out.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    match &args.command {
        SwarmCommand::Init(args) => change::init(berth, args, screen).await,
        SwarmCommand::Join(args) => change::join(berth, args, screen).await,
        SwarmCommand::Leave(args) => change::leave(berth, args, screen).await,
        SwarmCommand::Replace(args) => change::replace(berth, args, screen).await,
        SwarmCommand::Status(args) => status::run(berth, args).await,
    }
}
