//! The driver's options, and what they and the image come to for a machine.

use std::collections::BTreeMap;

use berth_driver_api::size::parse_size;
use berth_driver_api::{
    Capabilities, DiskFormat, Error, Info, Machine, Needs, OptionKind, OptionSpec, Result,
    check_options,
};
use berth_driver_qemu::accel::Accelerator;
use berth_driver_qemu::boot::BootKind;
use serde::{Deserialize, Serialize};

use crate::uri::Uri;

/// What a machine is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Network {
    /// QEMU's user-mode network.
    User,
    /// passt, by libvirt's own means.
    Passt,
    /// One of libvirt's networks.
    Named(String),
    /// A bridge of the hypervisor's computer.
    Bridge(String),
}

impl Network {
    /// True where SSH is reached by a port of the loopback.
    pub(crate) fn is_loopback(&self) -> bool {
        matches!(self, Network::User | Network::Passt)
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        match (word.as_str(), word.split_once(':')) {
            ("user", _) => Ok(Network::User),
            ("passt", _) => Ok(Network::Passt),
            (_, Some(("network", name))) if is_name(name) => Ok(Network::Named(name.into())),
            (_, Some(("network", _))) => Err("is not the name of a network".into()),
            // Linux's names of interfaces: at most 15 bytes, no slash, no blank.
            (_, Some(("bridge", name))) if name.len() <= 15 && is_name(name) && name.is_ascii() => {
                Ok(Network::Bridge(name.into()))
            }
            (_, Some(("bridge", _))) => Err("is not the name of a bridge".into()),
            _ => Err("is not one of auto, user, passt, network:, bridge:".into()),
        }
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        match network {
            Network::User => "user".into(),
            Network::Passt => "passt".into(),
            Network::Named(name) => format!("network:{name}"),
            Network::Bridge(name) => format!("bridge:{name}"),
        }
    }
}

/// Names of libvirt's networks and pools have no slash; what is in them otherwise is their maker's affair.
fn is_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && !name
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || c == '/')
}

/// The name of a storage pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct PoolName(String);

impl PoolName {
    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PoolName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match is_name(&name) {
            true => Ok(PoolName(name)),
            false => Err("is not the name of a storage pool".into()),
        }
    }
}

impl From<PoolName> for String {
    fn from(name: PoolName) -> String {
        name.0
    }
}

/// The options of a machine, read. `None` where what is found out decides.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `None`: libvirt's own choice.
    pub(crate) uri: Option<Uri>,
    pub(crate) pool: PoolName,
    pub(crate) network: Option<Network>,
    pub(crate) accelerator: Option<Accelerator>,
    pub(crate) machine_type: String,
    pub(crate) cpu: Option<String>,
    pub(crate) boot: BootKind,
    pub(crate) autostart: bool,
    /// Bytes.
    pub(crate) max_memory: Option<u64>,
}

/// The pool that libvirt's other tools use as well.
pub(crate) const DEFAULT_POOL: &str = "default";

/// The network that libvirt's other tools use as well.
pub(crate) const DEFAULT_NETWORK: &str = "default";

/// The driver's description of itself.
pub(crate) fn info() -> Info {
    Info {
        name: "libvirt".into(),
        description: "QEMU by libvirt, on this computer or by SSH on another one".into(),
        capabilities: Capabilities {
            images: true,
            seed: true,
            power: true,
            console: true,
            suspend: true,
            snapshot: true,
            clone: true,
            resize: true,
            adopt: true,
            ..Capabilities::default()
        },
        // Uploaded as it is, and without the holes of a raw disk.
        needs: Needs {
            disk: Some(DiskFormat::Qcow2),
            ..Needs::default()
        },
        max_cpus: None,
        options: vec![
            OptionSpec::new(
                "uri",
                OptionKind::Text,
                "libvirt's own choice: $LIBVIRT_DEFAULT_URI, else qemu:///session (root: qemu:///system)",
                "the hypervisor: qemu:///session, qemu:///system or qemu+ssh://[USER@]HOST/system",
            ),
            OptionSpec::new(
                "pool",
                OptionKind::Text,
                DEFAULT_POOL,
                "the storage pool of the machine's disk, a folder; made if it is called default",
            ),
            OptionSpec::new(
                "network",
                OptionKind::choice(&["auto", "user", "passt", "network:", "bridge:"]),
                "auto",
                "user: QEMU's own; passt: faster, needs passt and a libvirt that knows it; network:NAME: one of libvirt's; \
                 bridge:NAME; auto: user in a session, network:default else",
            ),
            OptionSpec::new(
                "accel",
                OptionKind::choice(&["auto", "kvm", "tcg"]),
                "auto",
                "what runs the machine's CPUs; auto decides by evidence",
            ),
            OptionSpec::new(
                "machine",
                OptionKind::Text,
                "q35 (virt on ARM)",
                "QEMU's machine type, such as pc-q35-7.2",
            ),
            OptionSpec::new(
                "cpu",
                OptionKind::Text,
                "host, or a model that is cheap to emulate",
                "host, max, or a CPU model of libvirt's with features, such as Nehalem,+aes,-avx",
            ),
            OptionSpec::new(
                "boot",
                OptionKind::choice(&["auto", "direct", "efi"]),
                "auto",
                "load the image's kernel directly, or boot its disk by UEFI firmware; auto: directly if it has one",
            ),
            OptionSpec::new(
                "autostart",
                OptionKind::Boolean,
                "false",
                "start the machine when libvirt starts",
            ),
            OptionSpec::new(
                "max-memory",
                OptionKind::Text,
                "what it has",
                "up to how much memory, such as 8G, `berth resize` can give it while it runs; the room alone costs Linux guests \
                 64 MiB",
            ),
        ],
    }
}

/// The hypervisor that is asked for; `None`: libvirt's own choice.
///
/// # Errors
/// If it is no URI of one.
pub(crate) fn uri(options: &BTreeMap<String, String>) -> Result<Option<Uri>> {
    let read = |text: &String| {
        Uri::try_from(text.clone()).map_err(|reason| Error::InvalidOption {
            option: "uri".into(),
            value: text.clone(),
            reason,
        })
    };
    options.get("uri").map(read).transpose()
}

impl Settings {
    /// Reads and checks a machine's options.
    pub(crate) fn of(machine: &Machine, info: &Info) -> Result<Settings> {
        let spec = &machine.spec;
        check_options(info, &spec.options)?;
        let refuse = |option: &str, reason: String| Error::InvalidOption {
            option: option.into(),
            value: spec.option(option, "").into(),
            reason,
        };
        let uri = uri(&spec.options)?;
        let pool = PoolName::try_from(spec.option("pool", DEFAULT_POOL).to_owned())
            .map_err(|reason| refuse("pool", reason))?;
        let network = match spec.option("network", "auto") {
            "auto" => None,
            word => Some(
                Network::try_from(word.to_owned()).map_err(|reason| refuse("network", reason))?,
            ),
        };
        let image = spec.image.as_ref();
        let family = match image.map_or(std::env::consts::ARCH, |image| image.arch.as_str()) {
            "x86_64" => "q35",
            _ => "virt",
        };
        let machine_type = spec.option("machine", family);
        let versions = if family == "q35" { "pc-q35-" } else { "virt-" };
        if machine_type != family && !machine_type.starts_with(versions) {
            return Err(refuse(
                "machine",
                format!(
                    "is neither {family} nor {versions}VERSION, which the devices are laid out for"
                ),
            ));
        }
        let cpu = spec.options.get("cpu").cloned();
        if let Some(cpu) = &cpu {
            Cpu::parse(cpu).map_err(|reason| refuse("cpu", reason))?;
        }
        let max_memory = match spec.options.get("max-memory") {
            Some(text) => Some(parse_size(text).map_err(|reason| refuse("max-memory", reason))?),
            None => None,
        };
        let no_kernel = image.is_some_and(|image| image.kernel.is_none());
        let boot = match (spec.option("boot", "auto"), no_kernel) {
            ("efi", _) | ("auto", true) => BootKind::Efi,
            ("direct", true) => {
                return Err(refuse(
                    "boot",
                    "the image has no kernel beside its disk".into(),
                ));
            }
            (_, _) => BootKind::Direct,
        };
        Ok(Settings {
            uri,
            pool,
            network,
            accelerator: Accelerator::named(spec.option("accel", "auto")),
            machine_type: machine_type.into(),
            cpu,
            boot,
            autostart: spec.option("autostart", "false") == "true",
            max_memory,
        })
    }
}

/// A CPU as libvirt describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cpu {
    /// What the hypervisor's computer has.
    Host,
    /// All that can be emulated.
    Maximum,
    /// A named model and features beside or without it.
    Model(String, Vec<(String, bool)>),
}

impl Cpu {
    /// Reads `host`, `max` or `MODEL[,+FEATURE][,-FEATURE]`.
    pub(crate) fn parse(text: &str) -> Result<Cpu, String> {
        let word = |text: &str| {
            let good = !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            match good {
                true => Ok(text.to_owned()),
                false => Err("is not MODEL,+FEATURE,-FEATURE".to_owned()),
            }
        };
        match text {
            "host" => return Ok(Cpu::Host),
            "max" => return Ok(Cpu::Maximum),
            _ => {}
        }
        let mut parts = text.split(',');
        let model = word(parts.next().unwrap_or_default())?;
        let features = parts.map(|part| match part.split_at_checked(1) {
            Some(("+", name)) => Ok((word(name)?, true)),
            Some(("-", name)) => Ok((word(name)?, false)),
            _ => Err("is not MODEL,+FEATURE,-FEATURE".to_owned()),
        });
        Ok(Cpu::Model(model, features.collect::<Result<_, _>>()?))
    }

    /// The CPU if the user names none.
    pub(crate) fn default_for(accelerator: Accelerator, arch: &str) -> &'static str {
        match (accelerator, arch) {
            (Accelerator::Kvm | Accelerator::Hvf, _) => "host",
            // As the QEMU driver: the level that today's container images ask for, what encrypts and digests, and no
            // more to emulate.
            (Accelerator::Tcg, "x86_64") => "Nehalem,+aes,+pclmuldq,+sha-ni",
            (Accelerator::Tcg, _) => "max",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_read() {
        assert_eq!(Cpu::parse("host"), Ok(Cpu::Host));
        assert_eq!(Cpu::parse("max"), Ok(Cpu::Maximum));
        let features = vec![("aes".into(), true), ("sse4.2".into(), false)];
        assert_eq!(
            Cpu::parse("Nehalem,+aes,-sse4.2"),
            Ok(Cpu::Model("Nehalem".into(), features))
        );
        for bad in [
            "",
            "a b",
            "Nehalem,aes",
            "Nehalem,+",
            "Nehalem,",
            "x'/>",
            "é,+é",
        ] {
            assert!(Cpu::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_are_read_and_written() {
        for word in ["user", "passt", "network:default", "bridge:br0"] {
            let network = Network::try_from(word.to_owned()).unwrap();
            assert_eq!(String::from(network), word);
        }
        for bad in [
            "",
            "nat",
            "network:",
            "network:a/b",
            "network:a b",
            "bridge:",
            "bridge:sixteen-letters-",
        ] {
            assert!(Network::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        for bad in ["", "a/b", "a\0b", "../x y"] {
            assert!(PoolName::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
