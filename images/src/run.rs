//! Running the programs of a build so that nothing of them survives a cancelled one.

use std::process::Stdio;
use std::time::{Duration, Instant};

use berth_driver_api::process;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::{Error, Result};

/// How `unshare` makes a user namespace whose root is the user and whose other numbers are the user's subordinate ones.
pub(crate) const NAMESPACE: &[&str] = &["--user", "--map-root-user", "--map-auto"];

/// A command of the program `name` in a process group of its own.
pub(crate) fn command(name: &str) -> Result<Command> {
    let mut command = process::command(name)?;
    command.process_group(0).env("LC_ALL", "C.UTF-8");
    Ok(command)
}

/// Runs a command to its end; `line` sees each line of its standard error. Dropping the future ends the command and
/// every process that it started.
///
/// # Errors
/// [`Error::Tool`] with the last lines of standard error.
pub(crate) async fn run(
    tool: &str,
    mut command: Command,
    mut line: impl FnMut(&str),
) -> Result<()> {
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| Error::tool(tool, error))?;
    let mut group = Group::of(child);
    let mut kept: Vec<String> = Vec::new();
    if let Some(stderr) = group.child.stderr.take() {
        let mut lines = BufReader::new(stderr).split(b'\n');
        while let Ok(Some(bytes)) = lines.next_segment().await {
            let text = process::last_lines(&bytes, 1);
            line(&text);
            if kept.len() == 400 {
                kept.remove(0);
            }
            kept.push(text);
        }
    }
    let status = group.child.wait().await;
    group.ended = true;
    let status = status.map_err(|error| Error::tool(tool, error))?;
    if status.success() {
        return Ok(());
    }
    let words = telling(&kept);
    Err(Error::tool(
        tool,
        if words.is_empty() {
            status.to_string()
        } else {
            format!("{words} ({status})")
        },
    ))
}

/// As [`run`], for programs whose words matter only when they fail.
pub(crate) async fn run_quietly(tool: &str, command: Command) -> Result<()> {
    run(tool, command, |_| ()).await
}

/// The lines that say what went wrong, or the last ones.
fn telling(lines: &[String]) -> String {
    let telling: Vec<&str> = lines
        .iter()
        .map(String::as_str)
        .filter(|line| {
            line.starts_with("E: ")
                || line.starts_with("Err:")
                || line.to_lowercase().contains("error")
        })
        .collect();
    let chosen = if telling.is_empty() {
        lines
            .iter()
            .map(String::as_str)
            .filter(|line| !line.is_empty())
            .collect()
    } else {
        telling
    };
    chosen[chosen.len().saturating_sub(6)..].join("\n")
}

/// Ends the whole process group when dropped before its leader has ended.
struct Group {
    child: Child,
    leader: Option<Pid>,
    ended: bool,
}

impl Group {
    fn of(child: Child) -> Self {
        let leader = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        Group {
            child,
            leader,
            ended: false,
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(leader) = self.leader.filter(|_| !self.ended) else {
            return;
        };
        // mmdebstrap unmounts and clears its folder, which belongs to other user numbers, when it is asked to end.
        let _ = killpg(leader, Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(3);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = killpg(leader, Signal::SIGKILL);
        let _ = self.child.try_wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = command("sh").unwrap();
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_failure_carries_the_telling_line() {
        let script = "echo I: unpacking >&2; echo 'E: no such package' >&2; echo bye >&2; exit 3";
        let error = run_quietly("sh", shell(script))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("E: no such package") && !error.contains("unpacking"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_dropped_command_takes_its_children_along() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("child");
        let script = format!(
            "sh -c 'echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000' & wait",
            mark.display()
        );
        let work = run_quietly("sh", shell(&script));
        let started = async {
            while !mark.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            _ = work => panic!("it ended"),
            () = started => {}
        }
        let child: i32 = std::fs::read_to_string(&mark)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        // A killed process whose parent is gone may stay a zombie for a moment.
        let gone = || {
            std::fs::read_to_string(format!("/proc/{child}/stat"))
                .map_or(true, |stat| stat.contains(") Z "))
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        while !gone() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(gone());
    }
}
