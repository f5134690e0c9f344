//! A domain's devices: its disks, its network, its channels.

use berth_driver_api::mac;

use super::{DISK, Domain};
use crate::options::Network;
use crate::xml::Element;

/// Where the network card goes that libvirt does not know of: far from where it puts its own.
const USER_CARD_SLOT: &str = "0x10";

/// Where the devices go on the root bus. libvirt would put a bridge before each: that is more to find at boot, and
/// under emulation each bridge is one more chance for a CPU to lose an interrupt while the other lays out memory
/// (QEMU's issue 1921), after which the guest hangs.
mod slot {
    pub(super) const DISK: &str = "0x03";
    pub(super) const SEED: &str = "0x04";
    pub(super) const CARD: &str = "0x05";
    pub(super) const CHANNELS: &str = "0x06";
    pub(super) const RNG: &str = "0x07";
}

impl Domain<'_> {
    pub(super) fn devices(&self) -> Element {
        Element::new("devices")
            .child(self.disk().child(on_root_bus(slot::DISK)))
            .children(self.seed())
            .child(
                Element::new("controller")
                    .with("type", "usb")
                    .with("model", "none"),
            )
            .child(
                Element::new("controller")
                    .with("type", "virtio-serial")
                    .with("index", 0)
                    .child(on_root_bus(slot::CHANNELS)),
            )
            .children(self.network())
            .children(self.channels())
            .child(
                Element::new("rng")
                    .with("model", "virtio")
                    .child(
                        Element::new("backend")
                            .with("model", "random")
                            .text("/dev/urandom"),
                    )
                    .child(on_root_bus(slot::RNG)),
            )
            // libvirt adds one unless it is told not to; nobody uses it, and every guest would load its module.
            .child(Element::new("memballoon").with("model", "none"))
    }

    pub(super) fn disk(&self) -> Element {
        let driver = Element::new("driver")
            .with("name", "qemu")
            .with("type", "qcow2")
            .with("discard", "unmap")
            .with("detect_zeroes", "unmap");
        disk(driver, &self.files.disk, DISK)
    }

    fn seed(&self) -> Option<Element> {
        let file = self.files.seed.as_ref()?;
        let driver = Element::new("driver")
            .with("name", "qemu")
            .with("type", "raw");
        Some(
            disk(driver, file, "vdb")
                .child(Element::new("readonly"))
                .child(on_root_bus(slot::SEED)),
        )
    }

    fn network(&self) -> Option<Element> {
        let card = |kind: &str| {
            Element::new("interface")
                .with("type", kind)
                .child(Element::new("mac").with("address", mac(self.machine.id)))
        };
        let interface = match &self.record.network {
            Network::User => return None,
            Network::Named(name) => {
                card("network").child(Element::new("source").with("network", name))
            }
            Network::Bridge(name) => {
                card("bridge").child(Element::new("source").with("bridge", name))
            }
            Network::Passt => {
                let range = Element::new("range")
                    .with("start", self.record.port.unwrap_or_default())
                    .with("to", 22);
                card("user")
                    .child(Element::new("backend").with("type", "passt"))
                    .child(
                        Element::new("portForward")
                            .with("proto", "tcp")
                            .with("address", "127.0.0.1")
                            .child(range),
                    )
            }
        };
        // No boot from the network, so no ROM for it.
        Some(
            interface
                .child(Element::new("model").with("type", "virtio"))
                .child(Element::new("rom").with("enabled", "no"))
                .child(on_root_bus(slot::CARD)),
        )
    }

    /// QEMU's own network: libvirt has no words for its port forwards, only for passt's.
    pub(super) fn user_network(&self) -> Option<Element> {
        if self.record.network != Network::User {
            return None;
        }
        let port = self.record.port.unwrap_or_default();
        // A machine's name has neither commas nor blanks.
        let netdev = format!(
            "user,id=berthnet0,hostname={},hostfwd=tcp:127.0.0.1:{port}-:22",
            self.machine.name
        );
        let device = format!(
            "virtio-net-pci,id=berthnic0,netdev=berthnet0,mac={},romfile=,bus=pcie.0,addr={USER_CARD_SLOT}",
            mac(self.machine.id)
        );
        let arguments = ["-netdev", &netdev, "-device", &device]
            .map(|argument| Element::new("qemu:arg").with("value", argument));
        Some(Element::new("qemu:commandline").children(arguments))
    }

    fn channels(&self) -> Vec<Element> {
        let agent = Element::new("channel").with("type", "unix").child(
            Element::new("target")
                .with("type", "virtio")
                .with("name", "org.qemu.guest_agent.0"),
        );
        let Some(outputs) = &self.files.outputs else {
            return vec![Element::new("serial").with("type", "pty"), agent];
        };
        let console = Element::new("source")
            .with("path", outputs.console.display())
            .with("append", "on");
        // What the guest said before it was suspended it does not say again.
        let ready = Element::new("source")
            .with("path", outputs.ready.display())
            .with("append", "on");
        vec![
            Element::new("serial").with("type", "file").child(console),
            agent,
            Element::new("channel")
                .with("type", "file")
                .child(ready)
                .child(
                    Element::new("target")
                        .with("type", "virtio")
                        .with("name", "dev.berth.ready.0"),
                ),
        ]
    }
}

fn disk(driver: Element, file: &str, target: &str) -> Element {
    Element::new("disk")
        .with("type", "file")
        .with("device", "disk")
        .child(driver)
        .child(Element::new("source").with("file", file))
        .child(
            Element::new("target")
                .with("dev", target)
                .with("bus", "virtio"),
        )
}

fn on_root_bus(slot: &str) -> Element {
    Element::new("address")
        .with("type", "pci")
        .with("domain", "0x0000")
        .with("bus", "0x00")
        .with("slot", slot)
        .with("function", "0x0")
}
