//! What is asked of a machine's QEMU on more than one occasion.

use std::time::Duration;

use berth_driver_api::running::Running;
use berth_driver_api::{Error, Machine, Result};
use qapi::qmp::{self, MigrationStatus};

use crate::call::CallError;
use crate::names::{PID_FILE, QMP_SOCKET};
use crate::qmp::Monitor;

/// How long QEMU has to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// How long QEMU has to close its files and end.
const QUIT: Duration = Duration::from_secs(3);

/// A connection to the machine's monitor for commands.
pub(crate) async fn connect(machine: &Machine) -> Result<Monitor> {
    Monitor::connect(&machine.socket(QMP_SOCKET), ANSWER)
        .await
        .map_err(|error| Error::failed("reaching QEMU's monitor", error))
}

/// Whether the guest has a port of its own open.
pub(crate) async fn guest_listens(monitor: &mut Monitor, port: &str) -> Result<bool, CallError> {
    let devices = monitor.call(qmp::query_chardev {}).await?;
    let open = |device: &qmp::ChardevInfo| device.label == port && device.frontend_open;
    Ok(devices.iter().any(open))
}

/// Has a guest run that a suspend left halted, which is no longer written anywhere.
pub(crate) async fn go_on(monitor: &mut Monitor) -> Result<(), CallError> {
    monitor.call(qmp::migrate_cancel {}).await?;
    let mut pause = Duration::from_millis(5);
    // There may be no event: it may have ended already.
    while matches!(
        monitor.call(qmp::query_migrate {}).await?.status,
        Some(
            MigrationStatus::setup
                | MigrationStatus::active
                | MigrationStatus::device
                | MigrationStatus::cancelling
        )
    ) {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
    monitor.call(qmp::cont {}).await.map(drop)
}

/// Ends the machine's QEMU.
pub(crate) async fn end(machine: &Machine) -> Result<()> {
    let Some(running) = Running::of(&machine.file(PID_FILE))? else {
        return Ok(());
    };
    let quit = async {
        let mut monitor = Monitor::connect(&machine.socket(QMP_SOCKET), QUIT).await?;
        monitor.call(qmp::quit {}).await
    };
    let quit_and_ended = async {
        // A monitor that does not answer leaves nothing to wait for; that QEMU ends before it answers is no failure.
        match quit.await {
            Ok(_) | Err(CallError::Closed) => running.ended().await,
            Err(error) => Err(Error::failed("asking QEMU to quit", error)),
        }
    };
    if let Ok(Ok(())) = tokio::time::timeout(QUIT, quit_and_ended).await {
        return Ok(());
    }
    running.kill_and_wait("QEMU").await
}
