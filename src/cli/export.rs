//! `berth export`

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::ValueHint;

use super::error::Usage;
use super::output;
use super::progress::Screen;
use crate::fleet;
use crate::machine::{Berth, Error, export};
use crate::store;

/// Write down what a berth on another computer needs to know of an adopted host, for `berth import` there
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The pinned host key goes along. What lets in does not, unless --with-key says so: then the file opens the\n\
                  host to whoever reads it. It is written for you alone to read; carry it safely and remove it.\n\n\
                  Examples:\n  berth export old1 > old1.toml\n  berth export old1 --with-key -o old1.toml"
)]
pub struct Args {
    /// The machine's name
    #[arg(value_name = "NAME", add = clap_complete::engine::ArgValueCandidates::new(fleet::candidates))]
    name: String,

    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// Take the private key along that lets in
    #[arg(long, requires = "output")]
    with_key: bool,
}

/// Writes it.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    let task = screen.task(&args.name);
    let text = export(berth, &args.name, args.with_key, &*task).await?;
    task.finish();
    screen.clear();
    match &args.output {
        Some(path) => {
            if path.exists() {
                return Err(Usage(format!("{} is there already", path.display())).into());
            }
            let path = &std::path::absolute(path)?;
            store::write_private(path, text.as_bytes()).map_err(Error::from)?;
            eprintln!(
                "{} is for `berth import` on another computer",
                path.display()
            );
        }
        None => output::line(text.trim_end())?,
    }
    if std::io::stdout().is_terminal() && args.output.is_none() {
        eprintln!("`berth import FILE` reads it on another computer");
    }
    Ok(ExitCode::SUCCESS)
}
