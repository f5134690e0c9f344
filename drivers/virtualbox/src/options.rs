//! What the driver says of itself.

use berth_driver_api::{Capabilities, DiskFormat, Info, Machine, Needs, OptionKind, OptionSpec};

use crate::network;

const NIC: &str = "nic";
const USUAL_NIC: &str = "virtio";

const CONTROLLER: &str = "controller";
const USUAL_CONTROLLER: &str = "sata";
const IDE: &str = "ide";

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
        options: vec![
            choice(
                NIC,
                &[USUAL_NIC, "82540EM"],
                "the network card: virtio, or an Intel card where that one gives trouble",
            ),
            choice(
                CONTROLLER,
                &[USUAL_CONTROLLER, IDE],
                "what the disks hang on: sata, or ide for a guest without a driver for that, as debian-12 is",
            ),
            choice(
                network::OPTION,
                &[network::NAT, network::HOST_ONLY, network::BRIDGED],
                "what the machine is on besides: nat: nothing; host-only:NAME: that network of VirtualBox's; \
                 bridged:NAME: that of the host's card",
            ),
        ],
    }
}

/// An option whose first choice is the usual one.
fn choice(name: &str, choices: &[&str], help: &str) -> OptionSpec {
    let usual = choices.first().copied().unwrap_or_default();
    OptionSpec::new(name, OptionKind::choice(choices), usual, help)
}

/// VirtualBox's name of the machine's network card.
pub(crate) fn card(machine: &Machine) -> &str {
    machine.spec.option(NIC, USUAL_NIC)
}

/// Whether its disks hang on an IDE controller.
pub(crate) fn is_ide(machine: &Machine) -> bool {
    machine.spec.option(CONTROLLER, USUAL_CONTROLLER) == IDE
}
