//! The state of a machine's devices, QEMU's migration stream without the memory: out of one QEMU and into another.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use berth_driver_api::Machine;
use qapi::qmp::{self, MigrationCapability, MigrationCapabilityStatus};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};

use crate::call::{CallError, within};
use crate::names::{DEVICES, MIGRATION_SOCKET, QMP_SOCKET};
use crate::qmp::Monitor;

/// How long the devices' state, a megabyte or less, may take either way.
const STREAM: Duration = Duration::from_secs(60);

/// Whether memory that is in a file is no part of the stream. The stream's end is to be told.
async fn leave_memory_out(monitor: &mut Monitor, out: bool) -> Result<(), CallError> {
    let capabilities = [
        (MigrationCapability::x_ignore_shared, out),
        (MigrationCapability::events, true),
    ];
    let capabilities = capabilities
        .map(|(capability, state)| MigrationCapabilityStatus { capability, state })
        .into();
    let set = qmp::migrate_set_capabilities { capabilities };
    monitor.call(set).await.map(drop)
}

/// Stops the machine and writes its devices' state to its file.
pub(crate) async fn save(machine: &Machine) -> Result<(), CallError> {
    let socket = machine.socket(MIGRATION_SOCKET);
    let mut monitor = Monitor::connect(&machine.socket(QMP_SOCKET), STREAM).await?;
    monitor.call(qmp::stop {}).await?;
    leave_memory_out(&mut monitor, true).await?;
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket)?;
    monitor
        .call(qmp::migrate {
            uri: Some(address(&socket)),
            channels: None,
            detach: None,
            resume: None,
        })
        .await?;
    let copy = async {
        let (mut stream, _) = listener.accept().await?;
        let mut file = tokio::fs::File::from_std(
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(machine.file(DEVICES))?,
        );
        tokio::io::copy(&mut stream, &mut file).await?;
        file.flush().await?;
        Ok(())
    };
    let copied = within(STREAM, "the devices' state", copy).await;
    let _ = fs::remove_file(&socket);
    copied?;
    migrated(&mut monitor).await
}

/// Feeds a machine whose QEMU waits for it the devices' state of the one that was frozen.
pub(crate) async fn restore(
    machine: &Machine,
    monitor: &mut Monitor,
    state: Vec<u8>,
) -> Result<(), CallError> {
    let socket = machine.socket(MIGRATION_SOCKET);
    leave_memory_out(monitor, true).await?;
    let _ = fs::remove_file(&socket);
    monitor
        .call(qmp::migrate_incoming {
            uri: Some(address(&socket)),
            channels: None,
            exit_on_error: None,
        })
        .await?;
    let feed = async {
        let mut stream = UnixStream::connect(&socket).await?;
        stream.write_all(&state).await?;
        stream.shutdown().await?;
        Ok(())
    };
    let fed = within(STREAM, "the devices' state", feed).await;
    let _ = fs::remove_file(&socket);
    fed?;
    migrated(monitor).await?;
    // The machine's own memory is in what is saved of it from now on.
    leave_memory_out(monitor, false).await
}

fn address(socket: &Path) -> String {
    format!("unix:{}", socket.display())
}

/// Returns once QEMU says that the whole stream was written or read.
async fn migrated(monitor: &mut Monitor) -> Result<(), CallError> {
    let heard = async {
        loop {
            let event = monitor.event().await?;
            match event.data.get("status").and_then(Value::as_str) {
                Some("completed") if event.name == "MIGRATION" => return Ok(true),
                Some("failed" | "cancelled") if event.name == "MIGRATION" => return Ok(false),
                _ => {}
            }
        }
    };
    if within(STREAM, "the devices' state", heard).await? {
        return Ok(());
    }
    let told = monitor.call(qmp::query_migrate {}).await?;
    Err(CallError::Refused {
        command: "the devices' state",
        reason: told
            .error_desc
            .unwrap_or_else(|| "QEMU does not say why".into()),
    })
}
