//! Test programs: built by cargo, run some at a time, each one's output told when it ends and again if it failed.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::BufRead;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::parts::cargo;

/// How much of a failed program's output is told again at the end, in bytes.
const TOLD_AGAIN: usize = 20_000;

/// One test program.
#[derive(Debug)]
struct Suite {
    name: String,
    program: PathBuf,
    /// Its package's folder, which cargo runs tests in.
    folder: PathBuf,
}

/// What cargo prints of a program that it built; cargo's book, "External tools".
#[derive(Deserialize)]
struct Built {
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    /// Whether it is a test, and not a program that tests start.
    test: bool,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Builds the test programs that `words` of `cargo test` choose and runs them with `arguments`, `at_once` at a time, each
/// prepared by `prepare`.
///
/// # Errors
/// If they cannot be built, or with the output of those that failed.
pub fn run(
    words: &str,
    arguments: &[&str],
    at_once: usize,
    prepare: impl Fn(&mut Command) + Sync,
) -> Result<()> {
    let queue = Mutex::new(build(words)?);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let next = lock(&queue).pop_front();
                    let Some(suite) = next else { break };
                    if let Err(error) = suite.run(arguments, &prepare) {
                        lock(&failed).push(format!("{}: {error:#}", suite.name));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failed.is_empty() {
        return Ok(());
    }
    bail!("{} failed\n\n{}", failed.len(), failed.join("\n\n"))
}

fn build(words: &str) -> Result<VecDeque<Suite>> {
    let mut command = cargo(&format!(
        "test --no-run --message-format=json-render-diagnostics {words}"
    ));
    eprintln!("$ cargo test {words}");
    let mut cargo = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo")?;
    let mut suites = VecDeque::new();
    if let Some(messages) = cargo.stdout.take() {
        for line in std::io::BufReader::new(messages).lines() {
            let built: Built = serde_json::from_str(&line?).context("a message of cargo's")?;
            if !built.profile.is_some_and(|profile| profile.test) {
                continue;
            }
            if let (Some(program), Some(manifest), Some(target)) =
                (built.executable, built.manifest_path, built.target)
            {
                suites.push_back(Suite {
                    name: target.name,
                    program,
                    folder: manifest.parent().unwrap_or(&manifest).to_owned(),
                });
            }
        }
    }
    if !cargo.wait()?.success() {
        bail!("the tests cannot be built");
    }
    if suites.is_empty() {
        bail!("there are no tests for `{words}`");
    }
    Ok(suites)
}

impl Suite {
    fn run(&self, arguments: &[&str], prepare: &impl Fn(&mut Command)) -> Result<()> {
        let begun = Instant::now();
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder)
            .stdin(Stdio::null());
        prepare(&mut command);
        let out = command
            .output()
            .with_context(|| self.program.display().to_string())?;
        let mut text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&out.stderr));
        let time = begun.elapsed().as_secs_f64();
        // In one piece, others are running.
        let mut told = String::new();
        let _ = write!(told, "\n--- {}: {time:.1} s\n{}\n", self.name, text.trim());
        print!("{told}");
        if out.status.success() {
            return Ok(());
        }
        bail!("{}\n{}", out.status, last(&text, TOLD_AGAIN))
    }
}

/// The last `most` bytes of `text` at most, from the beginning of a line.
fn last(text: &str, most: usize) -> &str {
    let from = text.len().saturating_sub(most);
    if from == 0 {
        return text;
    }
    let line = text.as_bytes()[from..].iter().position(|b| *b == b'\n');
    line.map_or("", |at| &text[from + at + 1..])
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_at_the_end_are_told_again() {
        assert_eq!(last("one\ntwo\n", 100), "one\ntwo\n");
        assert_eq!(last("one\ntwo\nthree\n", 10), "three\n");
        assert_eq!(last("ä\nö\n", 4), "ö\n");
        assert_eq!(last("a long line", 3), "");
    }
}
