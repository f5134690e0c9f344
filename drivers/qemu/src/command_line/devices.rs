//! A machine's devices, each with an id and a place on the bus of its own.

use berth_driver_api::{CHANNEL_PORT, Result, mac, thaw};

use super::{Carrier, CommandLine, Netdev, fds, text};
use crate::arguments::{Arguments, Values};
use crate::names;

/// The place of the first shared folder on the bus.
const FIRST_SHARE: u8 = 8;

impl CommandLine<'_> {
    pub(super) fn disk(&self, args: &mut Arguments) -> Result<()> {
        args.add(
            "-blockdev",
            Values::of("")
                .set("driver", "qcow2")
                .set("node-name", names::DISK)
                .set("discard", "unmap")
                .set("detect-zeroes", "unmap")
                .set("cache.direct", "off")
                .set("cache.no-flush", "off")
                .set("file.driver", "file")
                .set("file.filename", text(self.disk)?)
                .set("file.discard", "unmap")
                .set("file.aio", "threads"),
        );
        args.device(
            Values::of("virtio-blk-pci")
                .set("id", "blk0")
                .set("drive", names::DISK)
                .set("write-cache", "on")
                .set("bootindex", 1),
            2,
        );
        Ok(())
    }

    pub(super) fn seed(&self, args: &mut Arguments) -> Result<()> {
        let Some(seed) = self.seed else {
            return Ok(());
        };
        args.add(
            "-blockdev",
            Values::of("")
                .set("driver", "raw")
                .set("node-name", "seed0")
                .set("read-only", "on")
                .set("file.driver", "file")
                .set("file.filename", text(seed)?),
        );
        args.device(
            Values::of("virtio-blk-pci")
                .set("id", "blk1")
                .set("drive", "seed0"),
            6,
        );
        Ok(())
    }

    pub(super) fn shares(&self, args: &mut Arguments) {
        for ((number, tag), fd) in (0u8..).zip(self.shares).zip(fds::SHARES..) {
            args.add(
                "-chardev",
                Values::of("socket")
                    .set("id", format_args!("share{number}"))
                    .set("fd", fd),
            );
            args.device(
                Values::of("vhost-user-fs-pci")
                    .set("id", format_args!("fs{number}"))
                    .set("chardev", format_args!("share{number}"))
                    .set("tag", tag),
                FIRST_SHARE + number,
            );
        }
    }

    pub(super) fn network(&self, args: &mut Arguments) {
        args.add(
            "-netdev",
            match &self.netdev {
                Netdev::User { port } => Values::of("user")
                    .set("id", "net0")
                    .set("hostname", self.name)
                    .set("hostfwd", format_args!("tcp:127.0.0.1:{port}-:22")),
                Netdev::Isolated => Values::of("hubport").set("id", "net0").set("hubid", 0),
                Netdev::Helper => Values::of("stream")
                    .set("id", "net0")
                    .set("server", "off")
                    .set("addr.type", "fd")
                    .set("addr.str", fds::NETWORK),
                Netdev::Bridge(bridge) => Values::of("bridge").set("id", "net0").set("br", bridge),
            },
        );
        args.device(
            Values::of("virtio-net-pci")
                .set("id", "nic0")
                .set("netdev", "net0")
                .set("mac", mac(self.id))
                // No boot from the network, so no ROM for it.
                .set("romfile", ""),
            3,
        );
    }

    pub(super) fn channels(&self, args: &mut Arguments) -> Result<()> {
        for (id, fd) in [("qmp", fds::QMP), ("watch", fds::WATCH)] {
            args.add("-chardev", listening(id, fd));
            args.add(
                "-mon",
                Values::of("").set("chardev", id).set("mode", "control"),
            );
        }
        args.add(
            "-chardev",
            Values::of("file")
                .set("id", "console")
                .set("path", text(self.console)?)
                .set("append", "on"),
        );
        args.add("-serial", "chardev:console");

        args.add(
            "-object",
            Values::of("rng-random")
                .set("id", "random0")
                .set("filename", "/dev/urandom"),
        );
        args.device(
            Values::of("virtio-rng-pci")
                .set("id", "rng0")
                .set("rng", "random0"),
            4,
        );
        if self.x86() {
            args.add(
                "-device",
                Values::of("vmgenid")
                    .set("id", "vmgenid0")
                    .set("guid", "auto"),
            );
        }
        args.device(Values::of("virtio-serial-pci").set("id", "serial0"), 5);
        args.add(
            "-chardev",
            Values::of("pipe")
                .set("id", names::AGENT_PORT)
                .set("path", text(self.agent)?),
        );
        args.add("-chardev", listening("renew", fds::RENEW));
        // Without `append` the file is emptied when QEMU starts.
        let ready = Values::of("file")
            .set("id", "ready")
            .set("path", text(self.ready)?);
        args.add(
            "-chardev",
            match self.boots {
                true => ready,
                false => ready.set("append", "on"),
            },
        );
        let mut ports = vec![
            (1, names::AGENT_PORT, "org.qemu.guest_agent.0"),
            (2, "ready", "dev.berth.ready.0"),
            (3, "renew", thaw::PORT),
        ];
        if self.channel {
            args.add("-chardev", listening(names::CHANNEL_PORT, fds::CHANNEL));
            ports.push((4, names::CHANNEL_PORT, CHANNEL_PORT));
        }
        for (number, chardev, name) in ports {
            args.add(
                "-device",
                Values::of("virtserialport")
                    .set("id", names::port_device(chardev))
                    .set("bus", "serial0.0")
                    .set("nr", number)
                    .set("chardev", chardev)
                    .set("name", name),
            );
        }
        Ok(())
    }

    pub(super) fn credentials(&self, args: &mut Arguments) -> Result<()> {
        for (name, file) in self.credentials {
            let file = text(file)?;
            match self.carrier {
                Carrier::Smbios => {
                    args.add("-smbios", Values::of("").set("type", 11).set("path", file))
                }
                Carrier::FwCfg => args.add(
                    "-fw_cfg",
                    Values::of("")
                        .set("name", format_args!("opt/io.systemd.credentials/{name}"))
                        .set("file", file),
                ),
            }
        }
        Ok(())
    }
}

fn listening(id: &str, fd: i32) -> Values {
    Values::of("socket")
        .set("id", id)
        .set("fd", fd)
        .set("server", "on")
        .set("wait", "off")
}
