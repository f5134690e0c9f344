//! `berth image prune`

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Result;
use berth_images::Pruned;

use super::{made_of, users};
use crate::cli::error::Usage;
use crate::cli::output;
use crate::machine::{Berth, Error, show_size};

/// Removes what nothing leads to, or tells what that is.
pub(super) fn run(berth: &Berth, yes: bool, dry_run: bool) -> Result<ExitCode> {
    let store = berth.images()?;
    let look = || -> Result<Vec<Pruned>> {
        let users = users(berth)?;
        let found = store.prunable(&|digest| made_of(&users, digest));
        Ok(found.map_err(Error::from)?)
    };
    let mut doomed = look()?;
    let lines: Vec<String> = doomed.iter().map(told).collect();
    if dry_run || doomed.is_empty() {
        output::lines(lines)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !yes && !confirmed(&lines)? {
        eprintln!("nothing was removed");
        return Ok(ExitCode::from(1));
    }
    // What somebody began to use while the answer was waited for stays.
    let now = look()?;
    doomed.retain(|pruned| now.contains(pruned));
    for pruned in &doomed {
        store.prune(pruned).map_err(Error::from)?;
        output::line(&told(pruned))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn told(pruned: &Pruned) -> String {
    let digest = pruned
        .digest()
        .map(|digest| format!("sha256:{} ", digest.short()));
    let size = show_size(pruned.size);
    format!("{}{}, {size}", digest.unwrap_or_default(), pruned.what)
}

fn confirmed(lines: &[String]) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Usage("there is no terminal to ask on: say --yes".into()).into());
    }
    eprint!("{}\nRemove these? [y/N] ", lines.join("\n"));
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
