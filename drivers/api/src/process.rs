//! Running the programs that drivers are made of.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::{Error, Result};

/// The program `name` on PATH, or in the system folders that an ordinary user's PATH leaves out.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// A command for the program `name`, with no standard input.
///
/// # Errors
/// [`Error::ToolMissing`].
pub fn command(name: &str) -> Result<Command> {
    let program = find(name).ok_or_else(|| Error::ToolMissing { tool: name.into() })?;
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// Runs a command to its end and returns its standard output. Dropping the future ends the program.
///
/// # Errors
/// [`Error::Tool`] with the last lines of its standard error if it fails.
pub async fn output(mut command: Command) -> Result<Vec<u8>> {
    let tool = tool_name(&command);
    let output = command.output().await.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::ToolMissing { tool: tool.clone() },
        _ => Error::Tool {
            tool: tool.clone(),
            detail: error.to_string(),
        },
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = last_lines(&output.stderr, 5);
    Err(Error::Tool {
        tool,
        detail: if words.is_empty() {
            output.status.to_string()
        } else {
            format!("{words} ({})", output.status)
        },
    })
}

/// Starts a program that outlives berth: in a session of its own, so that a closed terminal or Ctrl-C does not
/// reach it.
///
/// # Errors
/// If it cannot be started.
pub fn spawn_detached(mut command: Command) -> Result<Child> {
    let tool = tool_name(&command);
    command.kill_on_drop(false);
    // SAFETY: setsid(2) is async-signal-safe and touches no memory of the parent's.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into));
    }
    command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::ToolMissing { tool },
        _ => Error::Tool {
            tool,
            detail: error.to_string(),
        },
    })
}

/// A program that outlives berth and has not answered yet: dropped, it is killed, since nobody knows of it.
pub struct Newborn(Option<Child>);

impl Newborn {
    /// A program that was just started.
    pub fn new(child: Child) -> Self {
        Newborn(Some(child))
    }

    /// It has answered.
    pub fn let_live(&mut self) {
        self.0 = None;
    }

    /// Returns when it has ended by itself; never for one that was let live.
    pub async fn ended(&mut self) {
        match &mut self.0 {
            Some(child) => drop(child.wait().await),
            None => std::future::pending().await,
        }
    }

    /// Ends it, if it has not ended itself, and says how it ended.
    pub async fn end(&mut self) -> String {
        let Some(mut child) = self.0.take() else {
            return String::new();
        };
        // A connection ends a moment before its process does, whose own end tells more than ours would.
        let outcome = match tokio::time::timeout(Duration::from_secs(2), child.wait()).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let _ = child.start_kill();
                child.wait().await
            }
        };
        outcome.map_or_else(|error| error.to_string(), |status| status.to_string())
    }
}

impl Drop for Newborn {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.start_kill();
        }
    }
}

/// The version that `name --version` tells (`… version 10.0.2 …`), and its whole first line.
pub async fn version(name: &str) -> Option<((u32, u32), String)> {
    let mut command = command(name).ok()?;
    command.arg("--version");
    let words = output(command).await.ok()?;
    let line = String::from_utf8_lossy(&words).lines().next()?.to_owned();
    Some((version_number(&line)?, line))
}

fn version_number(line: &str) -> Option<(u32, u32)> {
    let mut parts = line.split_once("version ")?.1.split(['.', ' ']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The last `count` lines of what a program or a console wrote, without control characters.
pub fn last_lines(bytes: &[u8], count: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<String> = text
        .lines()
        .map(without_controls)
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Control characters go, and terminals' sequences (ECMA-48: `ESC [ … letter`) as a whole: firmware writes many.
fn without_controls(line: &str) -> String {
    let mut kept = String::new();
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        if char == '\u{1b}' && chars.next_if_eq(&'[').is_some() {
            while chars.next_if(|c| (' '..='?').contains(c)).is_some() {}
            chars.next_if(|c| ('@'..='~').contains(c));
        } else if !char.is_control() {
            kept.push(char);
        }
    }
    kept
}

fn tool_name(command: &Command) -> String {
    let program = std::path::Path::new(command.as_std().get_program());
    program
        .file_name()
        .unwrap_or(program.as_os_str())
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drives_a_terminal_is_left_out_as_a_whole() {
        let console = b"\x1b[2J\x1b[01;01H\x1b[=3hBdsDxe: failed\r\n\x1b[0m\r\n\x1b[1m\x1b[33mShell> \x1b[0m\n";
        assert_eq!(last_lines(console, 5), "BdsDxe: failed\nShell> ");
        assert_eq!(last_lines(console, 1), "Shell> ");
    }

    #[test]
    fn versions_are_read() {
        let debian = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)";
        assert_eq!(version_number(debian), Some((10, 0)));
        assert_eq!(version_number("QEMU emulator version 7.2.22"), Some((7, 2)));
        assert_eq!(version_number("something else"), None);
    }
}
