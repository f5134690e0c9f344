//! `berth env`

use std::process::ExitCode;

use anyhow::Result;

use super::error::Usage;
use super::output;
use crate::context::shell::Shell;
use crate::fleet;
use crate::machine::{Berth, Error};

/// Print shell commands that point clients at a machine, in this shell only
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  eval \"$(berth env web1)\"\n  berth env web1 --shell fish | source\n  eval \"$(berth env -u)\""
)]
pub struct Args {
    /// The machine's name
    #[arg(value_name = "NAME", required_unless_present = "unset", add = clap_complete::engine::ArgValueCandidates::new(fleet::candidates))]
    name: Option<String>,

    /// The shell whose syntax is printed [default: by $SHELL]
    #[arg(long)]
    shell: Option<Shell>,

    /// Print commands that undo it
    #[arg(short, long, conflicts_with = "name")]
    unset: bool,
}

/// Prints the commands.
pub fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    let shell = args.shell.unwrap_or_else(Shell::of_user);
    let lines = match &args.name {
        _ if args.unset => vec![
            shell.unset("DOCKER_HOST"),
            shell.unset("BERTH_MACHINE"),
            shell.hint("env -u"),
        ],
        Some(name) => set(berth, name, shell)?,
        None => return Err(Usage("name a machine".into()).into()),
    };
    output::lines(lines)?;
    Ok(ExitCode::SUCCESS)
}

fn set(berth: &Berth, name: &str, shell: Shell) -> Result<Vec<String>> {
    let record = berth.record(name)?;
    if record.installed.is_none() {
        return Err(Error::NoEngine(record.name).into());
    }
    let socket = berth.home.machine(name).engine_socket();
    let mut lines = vec![
        shell.set("DOCKER_HOST", &format!("unix://{}", socket.display())),
        shell.set("BERTH_MACHINE", name),
    ];
    // Left over from another tool, these would make docker speak TLS to the socket, or another context win.
    for stale in ["DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONTEXT"] {
        if std::env::var_os(stale).is_some() {
            lines.push(shell.unset(stale));
        }
    }
    lines.push(shell.hint(&format!("env {name}")));
    Ok(lines)
}
