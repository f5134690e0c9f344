//! `berth import`

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use berth_driver_api::Login;
use clap::ValueHint;

use super::error::Usage;
use super::output;
use super::progress::Screen;
use crate::machine::{Berth, Import, MAX_EXPORT, import};

/// Take over an adopted host that a berth on another computer exported
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The host must show the key that was exported and let you in; nothing is changed there.\n\n\
                  Examples:\n  berth import old1.toml --key ~/.ssh/id_ed25519\n  berth import old1.toml --key agent --name build"
)]
pub struct Args {
    /// The file that `berth export` wrote; - for standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,

    /// Another name for it here
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// The private key file that lets in, or agent [default: the one in the file, or you are asked]
    #[arg(long, value_name = "FILE|agent", value_hint = ValueHint::FilePath)]
    key: Option<String>,
}

/// Takes it over.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    let text = read(&args.file)?;
    let read = Import::read(&text, args.name.as_deref())?;
    let login = match &args.key {
        Some(key) => Some(login(key)?),
        None if read.has_key() => None,
        None => Some(login(&asked(read.name())?)?),
    };
    let name = read.name().to_owned();
    let task = screen.task(&name);
    let outcome = import(berth, read, login, &*task).await;
    task.finish();
    screen.clear();
    outcome?;
    output::line(&name)?;
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let limit = MAX_EXPORT + 1;
    let count = match path.to_str() {
        Some("-") => std::io::stdin().take(limit).read_to_string(&mut text),
        _ => File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text)),
    };
    let count = count.with_context(|| path.display().to_string())?;
    if count as u64 > MAX_EXPORT {
        return Err(Usage(format!(
            "{} is no export of berth's: it is too long",
            path.display()
        ))
        .into());
    }
    Ok(text)
}

fn login(key: &str) -> Result<Login> {
    if key == "agent" {
        return Ok(Login::Agent);
    }
    match std::fs::canonicalize(key) {
        Ok(path) if path.is_file() => Ok(Login::File(path)),
        _ => Err(Usage(format!("--key: there is no file {key}")).into()),
    }
}

fn asked(name: &str) -> Result<String> {
    if !std::io::stdin().is_terminal() {
        return Err(Usage(format!(
            "the file brings no key: say with --key which one lets you in to {name}, a file or agent"
        ))
        .into());
    }
    eprint!("Which private key lets you in to {name}? [its file, or agent] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}
