//! A machine as libvirt's domain XML (libvirt.org/formatdomain.html).

use std::path::PathBuf;

use berth_driver_api::{BootImage, Machine};
use berth_driver_qemu::accel::Accelerator;

use crate::mark::Mark;
use crate::options::{Cpu, Network};
use crate::record::Record;
use crate::xml::Element;
use berth_driver_qemu::boot::BootKind;

mod devices;

/// QEMU's arguments in domain XML (libvirt.org/drvqemu.html).
const QEMU_NAMESPACE: &str = "http://libvirt.org/schemas/domain/qemu/1.0";

/// The machine's disk, by libvirt's name.
pub(crate) const DISK: &str = "vda";

/// How often memory can be plugged into a machine while it runs.
const SLOTS: u32 = 16;

/// The files that a machine consists of, where its hypervisor finds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    /// The overlay.
    pub(crate) disk: String,
    /// The seed, a raw disk.
    pub(crate) seed: Option<String>,
    /// The kernel and the initrd that go with it, for direct boot.
    pub(crate) kernel: Option<String>,
    pub(crate) initrd: Option<String>,
    /// Credentials by name, and the files that hold them.
    pub(crate) credentials: Vec<(String, String)>,
    /// What the guest writes to; only where berth can read what the hypervisor wrote.
    pub(crate) outputs: Option<Outputs>,
}

/// Files that the guest writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outputs {
    /// The serial console.
    pub(crate) console: PathBuf,
    /// What the guest says when it is up.
    pub(crate) ready: PathBuf,
}

/// The domain's name: one that other tools show, and that no other machine has.
pub(crate) fn name(machine: &Machine) -> String {
    let id = machine.id.simple().to_string();
    format!("berth-{}-{}", machine.name, id.get(..8).unwrap_or(&id))
}

/// The kind of domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// QEMU's.
    Qemu,
    /// libvirt's driver for tests, which runs nothing.
    Test,
}

/// The whole domain; `note` is what berth wants to be told again.
pub(crate) fn describe(
    machine: &Machine,
    image: &BootImage,
    record: &Record,
    files: &Files,
    note: Option<String>,
    kind: Kind,
) -> Element {
    let domain = Domain {
        machine,
        image,
        record,
        files,
        mark: Mark::of(machine, record, note),
        x86: image.arch == "x86_64",
    };
    match kind {
        Kind::Qemu => domain.qemu(),
        Kind::Test => domain.test(),
    }
}

struct Domain<'a> {
    machine: &'a Machine,
    image: &'a BootImage,
    record: &'a Record,
    files: &'a Files,
    mark: Mark,
    x86: bool,
}

impl Domain<'_> {
    fn qemu(&self) -> Element {
        let kind = match self.record.accelerator {
            Accelerator::Kvm => "kvm",
            Accelerator::Hvf => "hvf",
            Accelerator::Tcg => "qemu",
        };
        let domain = self.identity(kind);
        let domain = if self.record.network == Network::User {
            domain.with("xmlns:qemu", QEMU_NAMESPACE)
        } else {
            domain
        };
        domain
            .children(self.credentials())
            .child(self.os())
            .child(self.features())
            .child(self.cpu())
            .children(self.x86.then(clock))
            .children(self.x86.then(|| Element::new("genid")))
            .child(Element::new("on_crash").text("destroy"))
            .child(self.devices())
            .children(self.user_network())
    }

    /// As much as libvirt's test driver takes.
    fn test(&self) -> Element {
        let kind = Element::new("type").text("hvm");
        self.identity("test")
            .child(Element::new("os").child(kind))
            .child(Element::new("devices").child(self.disk()))
    }

    fn identity(&self, kind: &str) -> Element {
        let machine = self.machine;
        let memory = (machine.spec.memory >> 20) << 10;
        Element::new("domain")
            .with("type", kind)
            .child(Element::new("name").text(name(machine)))
            .child(Element::new("uuid").text(machine.id))
            .child(Element::new("title").text(format_args!("berth machine {}", machine.name)))
            .child(Element::new("metadata").child(self.mark.element()))
            .children(self.room())
            .child(Element::new("memory").with("unit", "KiB").text(memory))
            .child(Element::new("vcpu").text(machine.spec.cpus))
    }

    /// How much memory there is room for, if more can be plugged in than there is at first.
    fn room(&self) -> Option<Element> {
        let most = self.most_memory()?;
        let room = Element::new("maxMemory").with("slots", SLOTS);
        Some(room.with("unit", "KiB").text(most >> 10))
    }

    fn most_memory(&self) -> Option<u64> {
        let most = self.record.max_memory?;
        (most > self.machine.spec.memory).then_some(most)
    }

    /// Memory is plugged into a node: then all of it is on one.
    fn node(&self) -> Option<Element> {
        self.most_memory()?;
        let spec = &self.machine.spec;
        let cell = Element::new("cell")
            .with("id", 0)
            .with("cpus", format_args!("0-{}", spec.cpus.saturating_sub(1)))
            .with("memory", (spec.memory >> 20) << 10)
            .with("unit", "KiB");
        Some(Element::new("numa").child(cell))
    }

    /// By files of QEMU's configuration device, which libvirt lets its QEMU read and nobody else: neither the XML nor
    /// a command line has their content.
    fn credentials(&self) -> Option<Element> {
        let entries = self.files.credentials.iter().map(|(name, file)| {
            Element::new("entry")
                .with("name", format_args!("opt/io.systemd.credentials/{name}"))
                .with("file", file)
        });
        (!self.files.credentials.is_empty()).then(|| {
            Element::new("sysinfo")
                .with("type", "fwcfg")
                .children(entries)
        })
    }

    fn os(&self) -> Element {
        let kind = Element::new("type")
            .with("arch", &self.image.arch)
            .with("machine", &self.record.machine_type)
            .text("hvm");
        let os = match self.record.boot {
            BootKind::Efi => {
                let no_secure_boot = Element::new("feature")
                    .with("enabled", "no")
                    .with("name", "secure-boot");
                return Element::new("os")
                    .with("firmware", "efi")
                    .child(kind)
                    .child(Element::new("firmware").child(no_secure_boot));
            }
            BootKind::Direct => Element::new("os").child(kind),
        };
        let console = if self.x86 { "ttyS0" } else { "ttyAMA0" };
        // As the QEMU driver: emulation isolates nothing that these guard, and they cost it a fifth.
        let mitigations = match self.record.accelerator {
            Accelerator::Tcg => " mitigations=off",
            _ => "",
        };
        let cmdline = self.image.cmdline.as_deref().unwrap_or_default();
        let line = format!("{cmdline} console={console}{mitigations}");
        os.children(
            self.files
                .kernel
                .as_ref()
                .map(|file| Element::new("kernel").text(file)),
        )
        .children(
            self.files
                .initrd
                .as_ref()
                .map(|file| Element::new("initrd").text(file)),
        )
        .child(Element::new("cmdline").text(line.trim()))
    }

    fn features(&self) -> Element {
        let features = Element::new("features").child(Element::new("acpi"));
        if !self.x86 {
            return features;
        }
        features
            .child(Element::new("apic"))
            .child(Element::new("vmport").with("state", "off"))
    }

    fn cpu(&self) -> Element {
        let topology = Element::new("topology")
            .with("sockets", 1)
            .with("cores", self.machine.spec.cpus)
            .with("threads", 1);
        // What was recorded was read before it was recorded.
        let cpu = Cpu::parse(&self.record.cpu).unwrap_or(Cpu::Maximum);
        let cpu = match cpu {
            Cpu::Host => Element::new("cpu")
                .with("mode", "host-passthrough")
                .child(topology),
            Cpu::Maximum => Element::new("cpu").with("mode", "maximum").child(topology),
            Cpu::Model(model, features) => Element::new("cpu")
                .with("mode", "custom")
                .with("match", "exact")
                // What QEMU cannot emulate of a model it leaves out, as it does without libvirt.
                .with("check", "none")
                .child(Element::new("model").with("fallback", "forbid").text(model))
                .child(topology)
                .children(features.into_iter().map(|(name, wanted)| {
                    Element::new("feature")
                        .with("policy", if wanted { "require" } else { "disable" })
                        .with("name", name)
                })),
        };
        cpu.children(self.node())
    }
}

/// A module of so much memory, in bytes, for a machine that runs and has room for it.
pub(crate) fn plugged(bytes: u64) -> Element {
    let target = Element::new("target")
        .child(Element::new("size").with("unit", "KiB").text(bytes >> 10))
        .child(Element::new("node").text(0));
    Element::new("memory").with("model", "dimm").child(target)
}

/// As the QEMU driver: without a timer that Linux leaves running, and that wakes an idle QEMU 250 times a second.
fn clock() -> Element {
    let hpet = Element::new("timer")
        .with("name", "hpet")
        .with("present", "no");
    Element::new("clock").with("offset", "utc").child(hpet)
}

#[cfg(test)]
mod tests;
