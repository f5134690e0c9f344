//! A machine suspended to disk, which VirtualBox calls a saved state: while there is one the machine is off, and its next
//! start goes on from there.

use berth_driver_api::{Error, Machine, Progress, Result, State};

use crate::state;
use crate::vboxmanage::VBoxManage;

/// Writes the machine's memory to disk and ends it.
pub(crate) async fn suspend(
    tool: &VBoxManage,
    machine: &Machine,
    progress: &dyn Progress,
) -> Result<()> {
    match state::existing(tool, machine).await?.state() {
        State::Suspended => return Ok(()),
        State::Running | State::Paused => {}
        state => return Err(not_running(state)),
    }
    progress.phase("Writing its memory");
    let saved = tool.call("controlvm", machine.id, &["savestate"]).await;
    if saved.is_ok() {
        state::ended(tool, machine).await?;
    }
    match (state::existing(tool, machine).await?.state(), saved) {
        // Perhaps somebody else was faster.
        (State::Suspended, _) => Ok(()),
        // VirtualBox lets a machine run on that it could not save.
        (_, Err(error)) => Err(error),
        (state, Ok(_)) => Err(not_running(state)),
    }
}

/// Gives up what was suspended.
pub(crate) async fn forget(tool: &VBoxManage, machine: &Machine) -> Result<()> {
    let forgotten = tool.call("discardstate", machine.id, &[]).await;
    match state::existing(tool, machine).await?.state() {
        State::Suspended => forgotten.map(drop),
        _ => Ok(()),
    }
}

fn not_running(state: State) -> Error {
    Error::WrongState {
        state,
        wanted: "running",
    }
}
