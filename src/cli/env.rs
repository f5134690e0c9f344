//! `berth env`

use std::process::ExitCode;

use anyhow::Result;

use super::error::Usage;
use super::output;
use crate::context::shell::Shell;
use crate::fleet;
use crate::machine::{Berth, Error, tls};

/// Print shell commands that point clients at a machine, in this shell only
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  eval \"$(berth env web1)\"\n  berth env web1 --shell fish | source\n  eval \"$(berth env web1 --tls)\"\n  eval \"$(berth env -u)\""
)]
pub struct Args {
    /// The machine's name
    #[arg(value_name = "NAME", required_unless_present = "unset", add = clap_complete::engine::ArgValueCandidates::new(fleet::candidates))]
    name: Option<String>,

    /// The shell whose syntax is printed [default: by $SHELL]
    #[arg(long)]
    shell: Option<Shell>,

    /// Reach the engine over TLS: for clients that cannot use a unix socket
    #[arg(long, conflicts_with = "unset")]
    tls: bool,

    /// Print commands that undo it
    #[arg(short, long, conflicts_with = "name")]
    unset: bool,
}

/// Prints the commands.
pub async fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    let shell = args.shell.unwrap_or_else(Shell::of_user);
    let lines = match &args.name {
        _ if args.unset => unset(shell),
        Some(name) => set(berth, name, shell, args.tls).await?,
        None => return Err(Usage("name a machine".into()).into()),
    };
    output::lines(lines)?;
    Ok(ExitCode::SUCCESS)
}

fn unset(shell: Shell) -> Vec<String> {
    let mut lines = vec![shell.unset("DOCKER_HOST"), shell.unset("BERTH_MACHINE")];
    lines.extend(unset_stale(shell, &TLS_VARIABLES));
    lines.push(shell.hint("env -u"));
    lines
}

async fn set(berth: &Berth, name: &str, shell: Shell, over_tls: bool) -> Result<Vec<String>> {
    let record = berth.record(name)?;
    if record.installed.is_none() {
        return Err(Error::NoEngine(record.name).into());
    }
    let folder = berth.home.machine(name);
    let mut lines = Vec::new();
    if over_tls {
        let url = tls::wish(&record)?.url();
        tls::refresh(berth, &record).await?;
        lines.push(shell.set("DOCKER_HOST", &url));
        lines.push(shell.set("DOCKER_TLS_VERIFY", "1"));
        lines.push(shell.set("DOCKER_CERT_PATH", &folder.tls().display().to_string()));
    } else {
        let socket = folder.engine_socket();
        lines.push(shell.set("DOCKER_HOST", &format!("unix://{}", socket.display())));
        // Left over from another tool, these would make docker speak TLS to the socket.
        lines.extend(unset_stale(shell, &TLS_VARIABLES));
    }
    lines.push(shell.set("BERTH_MACHINE", name));
    // Another context would win.
    lines.extend(unset_stale(shell, &["DOCKER_CONTEXT"]));
    let option = if over_tls { " --tls" } else { "" };
    lines.push(shell.hint(&format!("env {name}{option}")));
    Ok(lines)
}

/// By which docker is told to speak TLS.
const TLS_VARIABLES: [&str; 2] = ["DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"];

fn unset_stale(shell: Shell, names: &[&str]) -> Vec<String> {
    let set = names.iter().filter(|name| std::env::var_os(name).is_some());
    set.map(|name| shell.unset(name)).collect()
}
