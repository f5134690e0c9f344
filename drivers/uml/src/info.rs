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
            OptionSpec {
            name: "network".into(),
            kind: OptionKind::Choice(vec!["user".into(), "shared".into(), "shared:".into()]),
            default: "user".into(),
            help: "user: a network of its own, with a loopback port that leads to SSH; \
                   shared or shared:GROUP: a second one too, on which the machines of that group reach each other"
                .into(),
        },
            OptionSpec {
                name: leash::OPTION.into(),
                kind: OptionKind::Boolean,
                default: "false".into(),
                help: "true: the machine is powered off at once if its supervisor dies; one without an engine has none"
                    .into(),
            },
        ],
    }
}
