//! A machine for unit tests.

use std::path::Path;

use berth_driver_api::{BootImage, DiskFormat, Machine, Spec};
use uuid::Uuid;

/// One of the image's disk `disk`, with its folder at `folder` and without a seed.
pub(crate) fn machine(folder: &Path, disk: &Path) -> Machine {
    Machine {
        id: Uuid::from_u128(7),
        name: "web1".into(),
        folder: folder.to_owned(),
        sockets: folder.to_owned(),
        ports: folder.to_owned(),
        networks: folder.to_owned(),
        seed: None,
        shares: Vec::new(),
        spec: Spec {
            cpus: 1,
            memory: 1 << 30,
            disk: 1 << 30,
            image: Some(BootImage {
                digest: String::new(),
                arch: "x86_64".into(),
                disk: disk.to_owned(),
                format: DiskFormat::Raw,
                virtual_size: 0,
                kernel: None,
                initrd: None,
                cmdline: None,
                driver_kernel: None,
            }),
            options: Default::default(),
        },
    }
}
