//! What the driver decided when it made a machine, kept in the machine's folder.

use berth_driver_api::record::KeptRecord;
use berth_driver_qemu::accel::Accelerator;
use serde::{Deserialize, Serialize};

use crate::options::{Network, PoolName};
use crate::uri::Uri;
use berth_driver_qemu::boot::BootKind;

/// `libvirt.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The hypervisor that has the machine.
    pub(crate) uri: Uri,
    /// The pool of its volumes.
    pub(crate) pool: PoolName,
    /// The digest of the image that its disk stands on.
    pub(crate) image: String,
    /// What runs its CPUs.
    pub(crate) accelerator: Accelerator,
    /// Why.
    pub(crate) accelerator_reason: String,
    /// QEMU's machine type.
    pub(crate) machine_type: String,
    /// As `-o cpu` takes it.
    pub(crate) cpu: String,
    pub(crate) boot: BootKind,
    pub(crate) network: Network,
    /// The loopback port that leads to SSH, for networks that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    /// Up to how much memory, in bytes, can be plugged in while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_memory: Option<u64>,
    /// What another version of berth wrote.
    #[serde(flatten)]
    pub(crate) others: toml::Table,
}

impl KeptRecord for Record {
    const FILE: &str = "libvirt.toml";
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "uri = \"qemu:///session\"\npool = \"default\"\nimage = \"sha256:00\"\naccelerator = \"tcg\"\n\
                        accelerator_reason = \"so\"\nmachine_type = \"q35\"\ncpu = \"Nehalem\"\n\
                        boot = \"direct\"\nnetwork = \"network:default\"\nfuture = 7\n";

    #[test]
    fn fields_of_another_version_survive() {
        let record: Record = toml::from_str(TEXT).unwrap();
        assert_eq!(record.network, Network::Named("default".into()));
        let again: Record = toml::from_str(&toml::to_string(&record).unwrap()).unwrap();
        assert_eq!(again, record);
        assert_eq!(again.others["future"].as_integer(), Some(7));
    }

    #[test]
    fn a_record_that_was_tampered_with_is_refused() {
        for (good, bad) in [
            ("qemu:///session", "qemu:///session\\u0000"),
            ("\"default\"", "\"../x y\""),
            ("network:default", "network:\\u0000"),
        ] {
            assert!(toml::from_str::<Record>(&TEXT.replacen(good, bad, 1)).is_err());
        }
    }
}
