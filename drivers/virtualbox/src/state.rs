//! What a machine's VM does. VBoxManage tells no events, so what it comes to is asked for, ever more seldom.

use std::time::Duration;

use berth_driver_api::{Error, Machine, Result, State};
use tokio::time::{Instant, sleep, timeout};

use crate::controller;
use crate::explain;
use crate::properties::Properties;
use crate::vboxmanage::VBoxManage;

/// VirtualBox answers nobody about a VM that is being changed; it is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long VirtualBox has to end a VM that is powered off: not less than what is done to it may take.
const OFF: Duration = Duration::from_secs(120);

/// How long VirtualBox has to begin or end what it does to a VM.
const CHANGE: Duration = Duration::from_secs(60);

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The disk comes last: a VM that has one is complete.
pub(crate) fn is_complete(shown: &Properties) -> bool {
    controller::disk(shown).is_some()
}

/// What the machine does. One whose making was broken off is still being made.
pub(crate) async fn of(tool: &VBoxManage, machine: &Machine) -> Result<State> {
    let Ok(shown) = timeout(PATIENCE, tool.show(machine)).await else {
        return Ok(State::Unreachable);
    };
    match shown {
        Ok(Some(shown)) if is_complete(&shown) => Ok(shown.state()),
        Ok(Some(_)) => Ok(State::Creating),
        Ok(None) => Ok(State::Missing),
        Err(error) if explain::is_starting(&error) => Ok(State::Starting),
        Err(error) => Err(error),
    }
}

/// The VM of a machine that is complete, once nothing is under way that ends by itself.
pub(crate) async fn existing(tool: &VBoxManage, machine: &Machine) -> Result<Properties> {
    settled(tool, machine)
        .await?
        .filter(is_complete)
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
