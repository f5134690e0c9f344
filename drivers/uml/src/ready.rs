//! Hearing from the guest that it is up, while its kernel lives.

use berth_driver_api::ready::Words;
use berth_driver_api::running::Running;
use berth_driver_api::{Error, Machine, Result, files, process};

use crate::kernel;
use crate::names::{CONSOLE, PID_FILE, READY, STARTED};

/// Returns when the guest has said `word`, or fails with the last words of a kernel that died.
pub(crate) async fn wait_for(machine: &Machine, word: &str) -> Result<()> {
    let Some(running) = Running::of(&machine.file(PID_FILE))? else {
        return Err(died(machine));
    };
    let hear = async { Words::watch(machine.file(READY), &[])?.hear(word).await };
    tokio::select! {
        biased;
        said = hear => said,
        ended = running.ended() => {
            ended?;
            Err(died(machine))
        }
    }
}

fn died(machine: &Machine) -> Error {
    Error::failed(
        "the machine stopped before it was ready",
        last_words(machine),
    )
}

/// A panic comes with long lists of what the kernel was doing.
const LONGEST: u64 = 64 << 10;

/// The last lines of the console since the machine was last started.
pub(crate) fn console(machine: &Machine) -> String {
    let lines = process::last_lines(&files::tail(&machine.file(CONSOLE), LONGEST), usize::MAX);
    let since = lines.rfind(STARTED).and_then(|at| lines.get(at..));
    match since {
        Some(since) => since
            .split_once('\n')
            .map_or("", |(_, since)| since)
            .to_owned(),
        None => lines,
    }
}

/// What the kernel said last, and what that means if it is known.
pub(crate) fn last_words(machine: &Machine) -> String {
    let console = console(machine);
    let lines = process::last_lines(console.as_bytes(), 5);
    match (kernel::explain(&console), lines.is_empty()) {
        (Some(meaning), _) => format!("{meaning}; its console said last:\n{lines}"),
        (None, true) => "its console said nothing".into(),
        (None, false) => format!("its console said last:\n{lines}"),
    }
}
