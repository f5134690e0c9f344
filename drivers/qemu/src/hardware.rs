//! The hardware that a guest goes on with, which has to be what it had when it was frozen.

use berth_driver_api::{Error, Result};
use qapi::qmp;
use serde::{Deserialize, Serialize};

use crate::call::CallError;
use crate::names;
use crate::qmp::Monitor;

/// What of a QEMU's hardware may be another one when the machine is started again.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hardware {
    /// QEMU's machine type with its version, since the plain name means another one after an upgrade of QEMU.
    pub(crate) machine_type: String,
    /// Whether it has the port for streams, which older berths did not give it.
    #[serde(default)]
    pub(crate) channel: bool,
    /// Whether it has the timer that older berths gave it.
    #[serde(default = "with_hpet")]
    pub(crate) hpet: bool,
}

fn with_hpet() -> bool {
    true
}

impl Hardware {
    /// The hardware of the QEMU that runs.
    pub(crate) async fn of(monitor: &mut Monitor) -> Result<Self> {
        let failed = |error: CallError| Error::failed("asking for QEMU's hardware", error);
        let told = monitor.call(machine("type")).await.map_err(failed)?;
        let machine_type = told
            .as_str()
            .and_then(|name| name.strip_suffix("-machine"))
            .ok_or_else(|| Error::failed("asking for QEMU's machine type", "it has no name"))?
            .to_owned();
        // Only x86 machines know the word.
        let hpet = monitor.call(machine("hpet")).await;
        let devices = devices(monitor).await.map_err(failed)?;
        let port = names::port_device(names::CHANNEL_PORT);
        Ok(Hardware {
            machine_type,
            channel: devices.iter().any(|device| device.name == port),
            hpet: hpet.is_ok_and(|there| there.as_bool() == Some(true)),
        })
    }
}

/// Asks for a property of the machine.
fn machine(property: &str) -> qmp::qom_get {
    qmp::qom_get {
        path: "/machine".into(),
        property: property.into(),
    }
}

/// The devices that have names.
pub(crate) async fn devices(
    monitor: &mut Monitor,
) -> Result<Vec<qmp::ObjectPropertyInfo>, CallError> {
    let path = "/machine/peripheral".to_owned();
    monitor.call(qmp::qom_list { path }).await
}
