//! Starting and ending a machine.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use berth_driver_api::ports;
use berth_driver_api::record::KeptRecord;
use berth_driver_api::{Error, Machine, Progress, Result, State};
use tokio::time::timeout;

use crate::properties::Properties;
use crate::record::Record;
use crate::vboxmanage::VBoxManage;
use crate::{arguments, explain, saved, state};

/// A guest that has not yet started to listen misses the power button: it is pressed again.
const AGAIN: Duration = Duration::from_secs(10);

/// Powers on, or lets a paused or suspended machine go on.
pub(crate) async fn start(
    tool: &VBoxManage,
    machine: &Machine,
    progress: &dyn Progress,
) -> Result<()> {
    let shown = state::existing(tool, machine).await?;
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
        Err(_) if state::of(tool, machine).await?.is_up() => Ok(()),
        Err(error) => Err(explain::not_started(error)),
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
                state::until_off(tool, machine).await.map(drop)
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
    let button = match state::of(tool, machine).await? {
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
    let state = state::of(tool, machine).await?;
    if state.is_up() || state == State::Error {
        over(tool.call("controlvm", machine.id, &["poweroff"]).await)?;
    }
    state::ended(tool, machine).await?;
    match state::settled(tool, machine).await? {
        Some(shown) if shown.state() == State::Suspended => saved::forget(tool, machine).await,
        _ => Ok(()),
    }
}

/// That it is off already is what was wanted.
fn over(outcome: Result<String>) -> Result<()> {
    match outcome {
        Err(error) if !explain::is_not_running(&error) => Err(error),
        _ => Ok(()),
    }
}
