//! Hearing from the guest that it is up, while its QEMU lives.

use berth_driver_api::ready::Words;
use berth_driver_api::running::Running;
use berth_driver_api::{Error, Machine, Result, State, files};

use crate::names::{CONSOLE, LOG, PID_FILE, READY};
use crate::state;

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
    let log = machine.file(LOG);
    // The log too: QEMU lives on when its accelerator fails, and says so there.
    let mut words = Words::watch(machine.file(READY), &[&log])?;
    while !words.contain(word)? {
        if !files::last_lines(&log, 1).is_empty()
            && state::of_running(machine, running).await? == State::Error
        {
            return Err(Error::failed(
                "the machine's CPUs stopped",
                last_words(machine),
            ));
        }
        words.changed().await?;
    }
    Ok(())
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
