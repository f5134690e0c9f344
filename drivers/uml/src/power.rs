//! Ending a machine, and learning that it has ended.

use std::time::Duration;

use berth_driver_api::record::KeptRecord;
use berth_driver_api::running::Running;
use berth_driver_api::{Error, Machine, Result, process};

use crate::group::Group;
use crate::mconsole::{self, Failure};
use crate::names::PID_FILE;
use crate::record::Record;
use crate::{cpu, helper, kernel, leash, memory, ready};

/// How long the kernel has to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// A guest that boots is given this long until it listens; sooner, it would miss what it is told, or start again.
const BOOTS: Duration = Duration::from_secs(10);

/// Between tries to reach the kernel.
const AGAIN: Duration = Duration::from_secs(1);

/// How often a network helper is replaced at once; after that the computer has other troubles.
const MOST_HELPERS: u32 = 5;

/// Asks the guest to shut down until it has. The keys Ctrl-Alt-Del mean that to these guests: their initrd says so.
pub(crate) async fn stop(machine: &Machine, deadline: Duration) -> Result<()> {
    let Some(running) = Running::of(&machine.file(PID_FILE))? else {
        return tidy(machine).await;
    };
    let ask = async {
        let listens = ready::wait_for(machine, berth_driver_api::ready::SSH);
        let _ = tokio::time::timeout(BOOTS, listens).await;
        // Once: while it shuts down, systemd has the kernel restart at once when the keys are pressed again.
        while let Err(failure) = mconsole::ask(machine, "cad", ANSWER).await {
            if !matches!(failure, Failure::Closed) {
                tracing::debug!(machine = machine.name, "asking for a shutdown: {failure:?}");
            }
            tokio::time::sleep(AGAIN).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = running.ended() => ended,
        () = ask => Ok(()),
        () = tokio::time::sleep(deadline) => Err(Error::Timeout {
            what: "the guest's shutdown".into(),
            after: deadline,
        }),
    }?;
    tidy(machine).await
}

/// Powers off at once: the kernel, the processes that the guest's are on this computer, the network helper.
pub(crate) async fn kill(machine: &Machine) -> Result<()> {
    if let Some(running) = Running::of(&machine.file(PID_FILE))? {
        running.kill_group()?;
        running.kill_and_wait("kernel").await?;
    }
    tidy(machine).await
}

/// Clears away what outlives a kernel.
async fn tidy(machine: &Machine) -> Result<()> {
    helper::end(machine).await?;
    if let Some(group) = Group::of(machine)? {
        group.end_if_idle().await?;
    }
    memory::remove(machine)
}

/// Waits for the machine's end and says what is known of why. Meanwhile a network helper that dies is replaced, and a
/// machine that waits for its CPU is moved.
pub(crate) async fn wait_stopped(machine: &Machine) -> Result<Option<String>> {
    let Some(running) = Running::of(&machine.file(PID_FILE))? else {
        return Ok(None);
    };
    // Whoever comes here watches the machine for as long as it runs: the supervisor.
    let _leash = leash::hold(machine);
    let tend = async {
        tokio::join!(
            keep_network(machine, &running),
            keep_group(machine),
            cpu::balance(&running)
        );
    };
    tokio::select! {
        biased;
        ended = running.ended() => ended?,
        () = tend => {}
    }
    Ok(Some(why(&ready::console(machine))))
}

async fn keep_network(machine: &Machine, kernel: &Running) -> std::convert::Infallible {
    for _ in 0..MOST_HELPERS {
        let outcome = async {
            if let Some(helper) = helper::of(machine)? {
                helper.ended().await?;
            }
            if !helper::is_lost(machine, kernel).await? {
                return Ok(());
            }
            let port = Record::existing(machine)?.port;
            tracing::info!(
                machine = machine.name,
                "its network helper ended: another one takes its place"
            );
            helper::replace(machine, port, kernel).await
        };
        if let Err(error) = outcome.await {
            tracing::warn!(machine = machine.name, "{error}");
            break;
        }
    }
    std::future::pending().await
}

/// Has the group's switch replaced when it dies; of several that see to it, one does it.
async fn keep_group(machine: &Machine) -> std::convert::Infallible {
    let keep = async {
        let Some(group) = Group::of(machine)? else {
            return Ok(());
        };
        let mut replaced = 0;
        while replaced < MOST_HELPERS {
            if let Some(switch) = group.switch()? {
                switch.ended().await?;
            }
            if group.is_lost().await? {
                replaced += 1;
                tracing::info!(machine = machine.name, "replacing its group's switch");
                group.join(false).await?;
            }
        }
        Ok::<_, Error>(())
    };
    if let Err(error) = keep.await {
        tracing::warn!(machine = machine.name, "{error}");
    }
    std::future::pending().await
}

/// Why a kernel ended, from its last words.
fn why(console: &str) -> String {
    let panic = "Kernel panic - not syncing: ";
    if let Some((_, panic)) = console.lines().find_map(|line| line.split_once(panic)) {
        let meaning = kernel::explain(console).unwrap_or_else(|| panic.to_owned());
        format!("the guest's kernel panicked: {meaning}")
    } else if console.contains("reboot: Power down") || console.contains("reboot: System halted") {
        "the guest shut down".into()
    } else {
        match process::last_lines(console.as_bytes(), 3) {
            words if words.is_empty() => {
                "its kernel ended without a word; it was probably killed".into()
            }
            words => format!(
                "its kernel ended unexpectedly, was probably killed; its console said last:\n{words}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernels_last_words_tell_why_it_ended() {
        let down = "[  OK  ] Reached target poweroff.target\nreboot: Power down\n";
        assert_eq!(why(down), "the guest shut down");
        let panic = "sysrq: Trigger a crash\nKernel panic - not syncing: sysrq triggered crash\nCPU: 0\n [<6>] x\n y\n z\n";
        assert!(why(panic).ends_with("panicked: sysrq triggered crash"));
        let full = "Bus error - the host /dev/shm or /tmp mount likely just ran out of space\n\
                    Kernel panic - not syncing: Kernel mode signal 7\n";
        assert!(why(full).ends_with("ran full"));
        assert!(why("login:").contains("probably killed"));
    }
}
