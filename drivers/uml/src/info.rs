//! What the driver says of itself.

use crate::leash;
use berth_driver_api::{Capabilities, DiskFormat, Info, Needs, OptionKind, OptionSpec};

/// The driver's description of itself.
pub(crate) fn info() -> Info {
    Info {
        name: "uml".into(),
        description:
            "User Mode Linux: a real kernel as a process of yours, on the CPU itself, without KVM"
                .into(),
        capabilities: Capabilities {
            images: true,
            power: true,
            console: true,
            resize: true,
            ..Capabilities::default()
        },
        max_cpus: Some(1),
        needs: Needs {
            disk: Some(DiskFormat::Raw),
            kernel: Some("uml-kernel".into()),
        },
        options: vec![
            OptionSpec::new(
                "network",
                OptionKind::choice(&["user", "shared", "shared:"]),
                "user",
                "user: a network of its own, with a loopback port that leads to SSH; \
                   shared or shared:GROUP: a second one too, on which the machines of that group reach each other",
            ),
            OptionSpec::new(
                leash::OPTION,
                OptionKind::Boolean,
                "false",
                "true: the machine is powered off at once if its supervisor dies; one without an engine has none",
            ),
        ],
    }
}
