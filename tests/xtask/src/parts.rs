//! Work in parts: each is timed, all are told at the end, and one that fails fails the whole.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The parts that were done.
#[derive(Default)]
pub struct Parts {
    done: Vec<(&'static str, Duration, Option<String>)>,
}

impl Parts {
    /// Does a part. Its error is told at once, and again by [`Parts::end`], which fails then.
    pub fn part(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) -> bool {
        eprintln!("\n==> {name}");
        let begun = Instant::now();
        let outcome = work();
        let error = outcome.err().map(|error| format!("{error:#}"));
        if let Some(error) = &error {
            eprintln!("{name}: {error}");
        }
        let good = error.is_none();
        self.done.push((name, begun.elapsed(), error));
        good
    }

    /// Tells each part's time.
    ///
    /// # Errors
    /// If a part failed.
    pub fn end(self) -> Result<()> {
        let mut failed = Vec::new();
        for (name, _, error) in &self.done {
            if let Some(error) = error {
                eprintln!("\n==> {name}: {error}");
                failed.push(*name);
            }
        }
        eprint!("\n{}", self.table());
        if failed.is_empty() {
            return Ok(());
        }
        bail!("failed: {}", failed.join(", "))
    }

    fn table(&self) -> String {
        let mut text = String::new();
        let width = self
            .done
            .iter()
            .map(|(name, ..)| name.len())
            .max()
            .unwrap_or(0);
        for (name, time, error) in &self.done {
            let word = if error.is_none() { "ok" } else { "FAILED" };
            let seconds = time.as_secs_f64();
            let _ = writeln!(text, "{name:width$} {seconds:8.1} s  {word}");
        }
        let total: Duration = self.done.iter().map(|(_, time, _)| *time).sum();
        let _ = writeln!(text, "{:width$} {:8.1} s", "in all", total.as_secs_f64());
        text
    }
}

/// Runs a command to its end, its output shown.
///
/// # Errors
/// If it cannot be started or does not succeed.
pub fn succeed(command: &mut Command) -> Result<()> {
    let words = line(command);
    eprintln!("$ {words}");
    let status = command
        .stdin(std::process::Stdio::null())
        .status()
        .with_context(|| words.clone())?;
    if !status.success() {
        bail!("`{words}`: {status}");
    }
    Ok(())
}

/// A cargo command in the workspace.
pub fn cargo(words: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(words.split_whitespace())
        .current_dir(workspace());
    // What `cargo run` tells this program of itself: build scripts that look at it would build everything anew.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name.as_ref());
        }
    }
    command
}

/// The repository's folder.
pub fn workspace() -> &'static std::path::Path {
    // tests/xtask
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own)
}

fn line(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    std::iter::once(name)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_part_fails_the_whole_and_the_others_are_still_done() {
        let mut parts = Parts::default();
        assert!(!parts.part("first", || bail!("no")));
        assert!(parts.part("second", || Ok(())));
        let table = parts.table();
        assert!(table.lines().next().is_some_and(|l| l.ends_with("FAILED")));
        assert!(table.lines().nth(1).is_some_and(|l| l.ends_with("ok")));
        assert!(parts.end().is_err_and(|e| e.to_string() == "failed: first"));
    }
}
