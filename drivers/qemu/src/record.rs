//! What the driver decided when it made a machine, kept beside the machine's disk.

use berth_driver_api::record::KeptRecord;
use serde::{Deserialize, Serialize};

use crate::accel::Accelerator;
use crate::boot::BootKind;
use crate::options::Network;

/// `qemu.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// What runs its CPUs.
    pub(crate) accelerator: Accelerator,
    /// Why.
    pub(crate) accelerator_reason: String,
    /// QEMU's machine type.
    pub(crate) machine_type: String,
    /// QEMU's CPU model.
    pub(crate) cpu: String,
    pub(crate) boot: BootKind,
    pub(crate) network: Network,
    /// The loopback port that leads to SSH; none on a bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    /// What another version of berth wrote.
    #[serde(flatten)]
    pub(crate) others: toml::Table,
}

impl KeptRecord for Record {
    const FILE: &str = "qemu.toml";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_another_version_survive() {
        let text = "accelerator = \"tcg\"\naccelerator_reason = \"so\"\nmachine_type = \"q35\"\ncpu = \"Nehalem\"\n\
                    boot = \"direct\"\nnetwork = \"bridge:br0\"\nfuture = 7\n";
        let record: Record = toml::from_str(text).unwrap();
        assert_eq!(record.network, Network::Bridge("br0".into()));
        let again: Record = toml::from_str(&toml::to_string(&record).unwrap()).unwrap();
        assert_eq!(again, record);
        assert_eq!(again.others["future"].as_integer(), Some(7));
    }
}
