//! `berth passphrase`

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use berth_provision::ssh::Passphrase;
use clap::{Subcommand, ValueHint};

use super::error::Usage;
use crate::machine::{Berth, forget_passphrase, keep_passphrase};

/// So long no passphrase is (bytes).
const LONGEST: u64 = 4096;

/// Have berth know the passphrases of your own SSH keys, by which adopted hosts let it in
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A key with a passphrase lets berth in where an SSH agent has it, or where berth knows the passphrase: it is \
                  kept in the system's keyring if this berth was built with one that works, else in a file that only you \
                  read (`berth doctor` tells). `berth ssh` is the system's ssh, which asks by itself.\n\n\
                  Examples:\n  berth passphrase keep ~/.ssh/id_ed25519\n  pass show ssh | berth passphrase keep \
                  ~/.ssh/id_ed25519\n  berth passphrase forget ~/.ssh/id_ed25519"
)]
pub struct Args {
    #[command(subcommand)]
    command: PassphraseCommand,
}

#[derive(Debug, Subcommand)]
enum PassphraseCommand {
    /// Ask for a key's passphrase, or read the first line of standard input, and keep it if it opens the key
    Keep(KeyFile),
    /// Forget a key's passphrase
    Forget(KeyFile),
}

#[derive(Debug, clap::Args)]
struct KeyFile {
    /// The private key
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
}

/// Keeps it, or forgets it.
pub async fn run(berth: &Berth, args: &Args) -> Result<ExitCode> {
    match &args.command {
        PassphraseCommand::Keep(KeyFile { file }) => {
            keep_passphrase(berth, file, &ask(file)?).await?;
        }
        PassphraseCommand::Forget(KeyFile { file }) => forget_passphrase(berth, file)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(file: &Path) -> Result<Passphrase> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        let prompt = format!("Passphrase of {}: ", file.display());
        let typed = rpassword::prompt_password(prompt).context("nothing could be read")?;
        return Ok(Passphrase::new(typed));
    }
    let mut line = String::new();
    let mut input = std::io::Read::take(stdin.lock(), LONGEST);
    input.read_line(&mut line).context("standard input")?;
    match line.trim_end_matches(['\r', '\n']) {
        "" => Err(Usage("standard input has no passphrase".into()).into()),
        passphrase => Ok(Passphrase::new(passphrase.to_owned())),
    }
}
