//! Starting and ending a machine. VBoxManage tells no events, so its end is asked for, ever more seldom.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use berth_driver_api::ports;
use berth_driver_api::record::KeptRecord;
use berth_driver_api::{Error, Machine, Progress, Result, State};
use tokio::time::{Instant, sleep, timeout};

use crate::properties::Properties;
use crate::record::Record;
use crate::vboxmanage::VBoxManage;
use crate::{arguments, explain, saved, vm};

/// A guest that has not yet started to listen misses the power button: it is pressed again.
const AGAIN: Duration = Duration::from_secs(10);

/// How long VirtualBox has to end a VM that is powered off.
const OFF: Duration = Duration::from_secs(30);

/// How long VirtualBox has to begin or end what it does to a VM.
const CHANGE: Duration = Duration::from_secs(60);

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Powers on, or lets a paused or suspended machine go on.
pub(crate) async fn start(
    tool: &VBoxManage,
    machine: &Machine,
    progress: &dyn Progress,
) -> Result<()> {
    let shown = existing(tool, machine).await?;
    match shown.state() {
        State::Starting | State::Running => return Ok(()),
        State::Paused => {
            return tool
                .call("controlvm", machine.id, &["resume"])
                .await
                .map(drop);
        }
        State::Stopped | State::Suspended => free_port(tool, machine, &shown, progress).await?,
        state => {
            return Err(Error::WrongState {
                state,
                wanted: "stopped, running, paused or suspended",
            });
        }
    }
    match tool
        .call("startvm", machine.id, &["--type", "headless"])
        .await
    {
        Ok(_) => Ok(()),
        // Another berth was faster.
        Err(_) if vm::state(tool, machine).await?.is_up() => Ok(()),
        Err(error) => Err(explain::not_started(error)),
    }
}

/// The VM of a machine that is complete, once nothing is under way that ends by itself.
pub(crate) async fn existing(tool: &VBoxManage, machine: &Machine) -> Result<Properties> {
    settled(tool, machine)
        .await?
        .filter(vm::is_complete)
        .ok_or_else(|| Error::Missing(machine.name.clone()))
}

/// The VM, once nothing is under way that ends by itself.
pub(crate) async fn settled(tool: &VBoxManage, machine: &Machine) -> Result<Option<Properties>> {
    let deadline = Instant::now() + CHANGE;
    let mut pause = FIRST_PAUSE;
    loop {
        let shown = tool.show(machine).await;
        let under_way = match &shown {
            Ok(shown) => shown
                .as_ref()
                .is_some_and(|shown| shown.state() == State::Stopping),
            Err(error) => explain::is_starting(error),
        };
        if !under_way || Instant::now() > deadline {
            return shown;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Gives the machine another port if a stranger listens on its own: VirtualBox would only write that to a log. A snapshot
/// that was gone back to may have an earlier one.
async fn free_port(
    tool: &VBoxManage,
    machine: &Machine,
    shown: &Properties,
    progress: &dyn Progress,
) -> Result<()> {
    let mut record = Record::existing(machine)?;
    if TcpListener::bind((Ipv4Addr::LOCALHOST, record.port)).is_err() {
        record.port = ports::exchange_taken(machine, record.port, progress)?;
        record.save(machine)?;
    }
    let rules: Vec<&str> = shown.under("Forwarding(").map(|(_, rule)| rule).collect();
    for arguments in arguments::lead_port(machine.id, record.port, &rules, tool.version) {
        tool.run(&arguments).await?;
    }
    Ok(())
}

/// Presses the power button until the machine is off.
pub(crate) async fn stop(tool: &VBoxManage, machine: &Machine, deadline: Duration) -> Result<()> {
    let stopping = async {
        loop {
            let again = async {
                press(tool, machine).await?;
                until_off(tool, machine).await.map(drop)
            };
            match timeout(AGAIN, again).await {
                Ok(outcome) => return outcome,
                Err(_) => tracing::debug!(machine = machine.name, "still up"),
            }
        }
    };
    timeout(deadline, stopping).await.unwrap_or_else(|_| {
        Err(Error::Timeout {
            what: "the guest's shutdown".into(),
            after: deadline,
        })
    })
}

async fn press(tool: &VBoxManage, machine: &Machine) -> Result<()> {
    let button = match vm::state(tool, machine).await? {
        State::Paused => {
            tool.call("controlvm", machine.id, &["resume"]).await?;
            "acpipowerbutton"
        }
        State::Starting | State::Running => "acpipowerbutton",
        // This guest never runs again.
        State::Error => "poweroff",
        _ => return Ok(()),
    };
    over(tool.call("controlvm", machine.id, &[button]).await)
}

/// Powers off at once; what was suspended is given up.
pub(crate) async fn kill(tool: &VBoxManage, machine: &Machine) -> Result<()> {
    let state = vm::state(tool, machine).await?;
    if state.is_up() || state == State::Error {
        over(tool.call("controlvm", machine.id, &["poweroff"]).await)?;
    }
    ended(tool, machine).await?;
    match settled(tool, machine).await? {
        Some(shown) if shown.state() == State::Suspended => saved::forget(tool, machine).await,
        _ => Ok(()),
    }
}

/// Returns when the machine is off, which it is about to be.
pub(crate) async fn ended(tool: &VBoxManage, machine: &Machine) -> Result<()> {
    timeout(OFF, until_off(tool, machine))
        .await
        .unwrap_or_else(|_| {
            Err(Error::Timeout {
                what: "the end of VirtualBox's VM".into(),
                after: OFF,
            })
        })
        .map(drop)
}

/// That it is off already is what was wanted.
fn over(outcome: Result<String>) -> Result<()> {
    match outcome {
        Err(error) if !explain::is_not_running(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Returns when the machine is off, with what VirtualBox knows of why.
pub(crate) async fn until_off(tool: &VBoxManage, machine: &Machine) -> Result<Option<String>> {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(shown) = settled(tool, machine).await? else {
            return Ok(explain::why_stopped("", State::Missing));
        };
        let state = shown.state();
        if !state.is_up() {
            return Ok(explain::why_stopped(shown.state_word(), state));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
