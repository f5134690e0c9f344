//! Running the programs that drivers are made of.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Stdio;

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
}
