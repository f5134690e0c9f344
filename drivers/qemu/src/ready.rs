//! Hearing from the guest that it is up. The guest writes words, one a line, to a virtio port whose other end is a
//! file in the machine's folder: `ssh` when its SSH server listens, `engine` when its container engine answers.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use berth_driver_api::{Error, Machine, Result, State};
use futures_util::StreamExt;
use inotify::{Inotify, WatchMask};

use crate::launch::{CONSOLE, LOG, PID_FILE, READY};
use crate::running::Running;
use crate::{files, state};

/// What the guest writes is looked at up to here.
const LONGEST: u64 = 64 << 10;

/// Returns when the guest has said `word`, or fails with the last words of a QEMU that died or that reports a fault.
pub(crate) async fn wait_for(machine: &Machine, word: &str) -> Result<()> {
    let Some(running) = Running::of(&machine.file(PID_FILE))? else {
        return Err(died(machine));
    };
    tokio::select! {
        biased;
        said = hear(machine, &running, word) => said,
        ended = running.ended() => {
            ended?;
            Err(died(machine))
        }
    }
}

async fn hear(machine: &Machine, running: &Running, word: &str) -> Result<()> {
    let ready = machine.file(READY);
    let log = machine.file(LOG);
    let inotify = Inotify::init().map_err(Error::io(&ready))?;
    // The log too: QEMU lives on when its accelerator fails, and says so there.
    for file in [&ready, &log] {
        inotify
            .watches()
            .add(file, WatchMask::MODIFY)
            .map_err(Error::io(file))?;
    }
    let mut changes = inotify
        .into_event_stream([0; 1024])
        .map_err(Error::io(&ready))?;
    // Looked at after the watch is set, so that no word falls in between.
    loop {
        if has_said(&ready, word)? {
            return Ok(());
        }
        if !files::last_lines(&log, 1).is_empty()
            && state::of_running(machine, running).await? == State::Error
        {
            return Err(Error::failed(
                "the machine's CPUs stopped",
                last_words(machine),
            ));
        }
        match changes.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(Error::io(&ready)(error)),
            None => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

fn has_said(ready: &Path, word: &str) -> Result<bool> {
    let mut bytes = Vec::new();
    File::open(ready)
        .and_then(|file| file.take(LONGEST).read_to_end(&mut bytes))
        .map_err(Error::io(ready))?;
    Ok(says(&bytes, word))
}

/// Whole lines only: a word that is still being written has no end yet.
fn says(bytes: &[u8], word: &str) -> bool {
    let complete = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    bytes
        .get(..complete)
        .unwrap_or_default()
        .split(|byte| *byte == b'\n')
        .any(|line| line.trim_ascii() == word.as_bytes())
}

fn died(machine: &Machine) -> Error {
    Error::failed(
        "the machine stopped before it was ready",
        last_words(machine),
    )
}

fn last_words(machine: &Machine) -> String {
    let mut words = Vec::new();
    for (who, file) in [("QEMU", LOG), ("its console", CONSOLE)] {
        let lines = files::last_lines(&machine.file(file), 5);
        if !lines.is_empty() {
            words.push(format!("{who} said last:\n{lines}"));
        }
    }
    if words.is_empty() {
        "neither QEMU nor its console said anything".into()
    } else {
        words.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_count() {
        assert!(says(b"ssh\n", "ssh"));
        assert!(says(b"noise\nssh\r\nengine\n", "ssh"));
        assert!(!says(b"ssh", "ssh"));
        assert!(!says(b"\nssh", "ssh"));
        assert!(!says(b"sshd\nxssh\n", "ssh"));
        assert!(!says(b"", "ssh"));
    }
}
