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

/// How many tests are tried again at most: where more fail, the computer is not why.
const TRIED_AGAIN: usize = 3;

/// One test program.
#[derive(Debug, Clone)]
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

/// How a choice of test programs is run.
pub struct Way<'a> {
    /// What each is told.
    pub arguments: &'a [&'a str],
    /// How many run at once.
    pub at_once: usize,
    /// Those that begin first: the longest, so that none of them is left alone at the end.
    pub first: &'a [&'a str],
}

impl Way<'_> {
    /// The suite's turn; cargo tells suites in the order in which it happens to have built them.
    fn turn(&self, suite: &Suite) -> usize {
        let place = self.first.iter().position(|name| *name == suite.name);
        place.unwrap_or(self.first.len())
    }
}

/// A program that failed.
struct Failure {
    suite: Suite,
    /// Its tests that failed; none if it ended before it named them.
    tests: Vec<String>,
    words: String,
}

/// Builds the test programs that `words` of `cargo test` choose and runs them, each prepared by `prepare`. The few tests
/// that fail are tried once more when nothing runs beside them, which is told: a busy computer draws out what is to happen
/// within seconds, and emulated guests meet an emulator's own errors (QEMU's issue 1921).
///
/// # Errors
/// If they cannot be built, or with the output of those that failed.
pub fn run(words: &str, way: &Way, prepare: impl Fn(&mut Command) + Sync) -> Result<()> {
    let mut queue = build(words)?;
    queue.make_contiguous().sort_by_key(|suite| way.turn(suite));
    let queue = Mutex::new(queue);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..way.at_once {
            scope.spawn(|| {
                loop {
                    let next = lock(&queue).pop_front();
                    let Some(suite) = next else { break };
                    if let Err(failure) = suite.run(way.arguments, &prepare) {
                        lock(&failed).push(failure);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let count: usize = failed.iter().map(|f| f.tests.len().max(1)).sum();
    if (1..=TRIED_AGAIN).contains(&count) {
        let again = |failure: &Failure| try_again(failure, way.arguments, &prepare);
        failed.retain(|failure| !again(failure));
    }
    if failed.is_empty() {
        return Ok(());
    }
    let words: Vec<_> = failed.iter().map(|failure| &*failure.words).collect();
    bail!("{} failed\n\n{}", failed.len(), words.join("\n\n"))
}

/// True if all that failed passes now, which is told with how it failed: a test that does so often is to be mended.
fn try_again(failure: &Failure, arguments: &[&str], prepare: &impl Fn(&mut Command)) -> bool {
    let tests = failure.tests.iter().map(String::as_str);
    let arguments: Vec<&str> = arguments
        .iter()
        .copied()
        .chain(["--exact"])
        .chain(tests)
        .collect();
    let passed = !failure.tests.is_empty() && failure.suite.run(&arguments, prepare).is_ok();
    if passed {
        let tests = failure.tests.join(", ");
        println!(
            "\n--- passed when tried again: {tests}; at first:\n{}",
            failure.words
        );
    }
    passed
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
    fn run(&self, arguments: &[&str], prepare: &impl Fn(&mut Command)) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder)
            .stdin(Stdio::null());
        prepare(&mut command);
        let failed = |how: &str, text: &str| Failure {
            suite: self.clone(),
            tests: failed_tests(text),
            words: format!("{}: {how}\n{}", self.name, last(text, TOLD_AGAIN)),
        };
        let out = command
            .output()
            .map_err(|error| failed(&format!("{}: {error}", self.program.display()), ""))?;
        let mut text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&out.stderr));
        let time = begun.elapsed().as_secs_f64();
        // In one piece, others are running.
        let mut told = String::new();
        let _ = write!(told, "\n--- {}: {time:.1} s\n{}\n", self.name, text.trim());
        print!("{told}");
        match out.status.success() {
            true => Ok(()),
            false => Err(failed(&out.status.to_string(), &text)),
        }
    }
}

/// The tests that a test program lists after the last line `failures:`.
fn failed_tests(text: &str) -> Vec<String> {
    let Some((_, list)) = text.rsplit_once("\nfailures:\n") else {
        return Vec::new();
    };
    let names = list.lines().map_while(|line| line.strip_prefix("    "));
    names.map(str::to_owned).collect()
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
    fn the_tests_that_failed_are_those_listed_last() {
        let text = "test a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\nno\n\n\nfailures:\n    b\n    c::d\n\n\
                    test result: FAILED. 1 passed; 2 failed\n";
        assert_eq!(failed_tests(text), ["b", "c::d"]);
        assert!(failed_tests("error: it was killed\n").is_empty());
    }

    #[test]
    fn only_whole_lines_at_the_end_are_told_again() {
        assert_eq!(last("one\ntwo\n", 100), "one\ntwo\n");
        assert_eq!(last("one\ntwo\nthree\n", 10), "three\n");
        assert_eq!(last("ä\nö\n", 4), "ö\n");
        assert_eq!(last("a long line", 3), "");
    }
}
