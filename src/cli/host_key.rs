//! `berth host-key`

use std::process::ExitCode;

use anyhow::Result;

use super::output;
use super::progress::Screen;
use crate::fleet;
use crate::machine::{Berth, accept_host_key, host_keys};

/// Show the host key that a machine is known by and the one that it shows, or accept another one
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A machine that shows another key is not connected to. Accept one only if you know why it changed: \
                  compare it\nwith what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints on the machine itself.\n\n\
                  Examples:\n  berth host-key old1\n  berth host-key old1 --accept SHA256:GOISKV2ybRVZWNYx/FHwVtEXVu9GJqkn2vBfBkTz3xM"
)]
pub struct Args {
    /// The machine's name
    #[arg(value_name = "NAME", add = clap_complete::engine::ArgValueCandidates::new(fleet::candidates))]
    name: String,

    /// From now on accept the key with this fingerprint, which the machine must show, and no other
    #[arg(long, value_name = "FINGERPRINT", value_parser = fingerprint)]
    accept: Option<String>,

    /// Print as JSON
    #[arg(long, conflicts_with = "accept")]
    json: bool,
}

/// Shows or replaces it.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    if let Some(wanted) = &args.accept {
        let task = screen.task(&args.name);
        accept_host_key(berth, &args.name, wanted, &*task).await?;
        task.finish();
        screen.clear();
        output::line(wanted)?;
        return Ok(ExitCode::SUCCESS);
    }
    let keys = host_keys(berth, &args.name).await?;
    if args.json {
        output::line(&serde_json::to_string_pretty(&keys)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for key in &keys.accepted {
        output::line(&format!("accepted  {key}"))?;
    }
    match &keys.shown {
        Some(key) => output::line(&format!("shown     {key}"))?,
        None => eprintln!("{} does not answer now", keys.name),
    }
    Ok(ExitCode::SUCCESS)
}

/// `SHA256:` and 43 characters of base64.
fn fingerprint(text: &str) -> Result<String, String> {
    let digest = text.strip_prefix("SHA256:");
    let good = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    match digest {
        Some(digest) if digest.len() == 43 && digest.chars().all(good) => Ok(text.to_owned()),
        _ => Err("write it as SHA256:…, as ssh-keygen -l prints it".into()),
    }
}
