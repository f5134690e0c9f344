//! What the driver says of itself.

use berth_driver_api::{Capabilities, DiskFormat, Info, Machine, Needs, OptionKind, OptionSpec};

const NIC: &str = "nic";
const USUAL_NIC: &str = "virtio";

/// The driver's description of itself.
pub(crate) fn info() -> Info {
    Info {
        name: "virtualbox".into(),
        description: "VirtualBox 6.1 or later, by VBoxManage".into(),
        capabilities: Capabilities {
            images: true,
            seed: true,
            power: true,
            console: true,
            suspend: true,
            snapshot: true,
            clone: true,
            resize: true,
            ..Capabilities::default()
        },
        // More than VirtualBox gives any VM.
        max_cpus: Some(64),
        needs: Needs {
            disk: Some(DiskFormat::Raw),
            kernel: None,
        },
        options: vec![OptionSpec {
            name: NIC.into(),
            kind: OptionKind::Choice(vec![USUAL_NIC.into(), "82540EM".into()]),
            default: USUAL_NIC.into(),
            help: "the network card: virtio, or an Intel card where that one gives trouble".into(),
        }],
    }
}

/// VirtualBox's name of the machine's network card.
pub(crate) fn card(machine: &Machine) -> &str {
    machine.spec.option(NIC, USUAL_NIC)
}
