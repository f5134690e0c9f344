//! Running programs under a deadline.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program to be run, with nothing of this process's environment.
pub struct Run {
    words: Vec<String>,
    command: Command,
    deadline: Duration,
    stdin: Vec<u8>,
}

/// What it did.
#[derive(Debug)]
pub struct Out {
    /// Its exit code; 124 after the deadline, 128 and the signal's number after a signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Run {
    pub fn new(program: &str) -> Self {
        // timeout(1) ends the program together with what it started in its process group.
        let mut command = Command::new("timeout");
        command.env_clear();
        Run {
            words: vec![program.into()],
            command,
            deadline: super::ANSWER,
            stdin: Vec::new(),
        }
    }

    pub fn arg(self, word: impl Into<String>) -> Self {
        self.args([word.into()])
    }

    pub fn args<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    /// Has another program run it: `words`, then its own.
    pub fn before(mut self, words: &[&str]) -> Self {
        self.words
            .splice(0..0, words.iter().map(|&word| word.to_owned()));
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// What it reads; nothing if this is not called.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Starts it with its output in pipes.
    pub fn spawn(mut self) -> Child {
        self.command
            .arg("--kill-after=5")
            .arg(self.deadline.as_secs().to_string())
            .args(&self.words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Out {
        let begun = Instant::now();
        let stdin = std::mem::take(&mut self.stdin);
        let mut child = self.spawn();
        let mut pipe = child.stdin.take().unwrap();
        // A program that does not read to the end closes the pipe: that is its own affair.
        let writer = std::thread::spawn(move || drop(pipe.write_all(&stdin)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Out {
            // timeout(1) ends itself by the signal that ended the program.
            code: (output.status.code())
                .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: begun.elapsed(),
        }
    }

    /// Runs it and asserts that it succeeds.
    #[track_caller]
    pub fn ok(self) -> Out {
        self.exits(0)
    }

    /// Runs it and asserts its exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Out {
        let words = self.words.join(" ");
        let out = self.run();
        assert_eq!(
            out.code, code,
            "{words}\nafter {:.1?}\nstdout: {}\nstderr: {}",
            out.took, out.stdout, out.stderr
        );
        out
    }

    /// Runs it, asserts that it succeeds, and gives what it printed without the blanks around it.
    #[track_caller]
    pub fn text(self) -> String {
        self.ok().stdout.trim().to_owned()
    }
}

impl Out {
    /// Asserts that `words` are among what it said on stderr.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(
            self.stderr.contains(words),
            "{words:?} is not said: {}",
            self.stderr
        );
        self
    }
}
