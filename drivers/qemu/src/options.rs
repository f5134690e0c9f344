//! The driver's options, and what they and the image come to for a machine.

use berth_driver_api::{
    Capabilities, Error, Info, Machine, Needs, OptionKind, OptionSpec, Result, check_options,
};
use serde::{Deserialize, Serialize};

use crate::accel::Accelerator;
use crate::boot::BootKind;

/// What a machine is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Network {
    /// QEMU's user-mode network.
    User,
    /// passt, a faster user-mode network.
    Passt,
    /// A bridge of the host's.
    Bridge(String),
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        match (word.as_str(), word.strip_prefix("bridge:")) {
            ("user", _) => Ok(Network::User),
            ("passt", _) => Ok(Network::Passt),
            // Linux's names of interfaces: at most 15 bytes, no slash, no blank.
            (_, Some(name))
                if (1..=15).contains(&name.len())
                    && name.chars().all(|c| c.is_ascii_graphic() && c != '/') =>
            {
                Ok(Network::Bridge(name.into()))
            }
            (_, Some(_)) => Err("is not the name of a bridge".into()),
            _ => Err("is not one of user, passt, bridge:".into()),
        }
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        match network {
            Network::User => "user".into(),
            Network::Passt => "passt".into(),
            Network::Bridge(name) => format!("bridge:{name}"),
        }
    }
}

/// The options of a machine, read.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `None` where evidence decides.
    pub(crate) accelerator: Option<Accelerator>,
    pub(crate) machine_type: String,
    /// `None` where the accelerator decides.
    pub(crate) cpu: Option<String>,
    pub(crate) boot: BootKind,
    pub(crate) network: Network,
}

/// The CPU model if the user names none.
pub(crate) fn default_cpu(accelerator: Accelerator, arch: &str) -> &'static str {
    match (accelerator, arch) {
        (Accelerator::Kvm | Accelerator::Hvf, _) => "host",
        // The level that today's container images ask for (x86-64-v2) and no more: what a guest sees it uses, and
        // all it uses is emulated. Against `max` a boot takes four fifths of the time. AES and SHA are emulated by the
        // host's own, which saves two thirds of what encryption costs, and half of what digests of layers do.
        (Accelerator::Tcg, "x86_64") => "Nehalem,+aes,+pclmulqdq,+sha-ni",
        (Accelerator::Tcg, _) => "max",
    }
}

/// The driver's description of itself.
pub(crate) fn info() -> Info {
    Info {
        name: "qemu".into(),
        description: "QEMU with KVM, macOS's hypervisor or software emulation; needs no daemon"
            .into(),
        capabilities: Capabilities {
            images: true,
            seed: true,
            power: true,
            console: true,
            suspend: true,
            snapshot: true,
            clone: true,
            freeze: true,
            resize: true,
            // virtiofsd runs on Linux only.
            shares: cfg!(target_os = "linux"),
            ..Capabilities::default()
        },
        needs: Needs::default(),
        max_cpus: None,
        options: vec![
            OptionSpec::new(
                "accel",
                OptionKind::choice(&["auto", "kvm", "hvf", "tcg"]),
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
                "QEMU's CPU model and features, such as max or Nehalem,+aes",
            ),
            OptionSpec::new(
                "boot",
                OptionKind::choice(&["auto", "direct", "efi"]),
                "auto",
                "load the image's kernel directly, or boot its disk by UEFI firmware; auto: directly if it has one",
            ),
            OptionSpec::new(
                "network",
                OptionKind::choice(&["user", "passt", "bridge:"]),
                "user",
                "user: QEMU's own; passt: faster, needs passt; bridge:NAME: needs qemu-bridge-helper and, to find \
                 the address, the guest agent",
            ),
        ],
    }
}

impl Settings {
    /// Reads and checks a machine's options.
    pub(crate) fn of(machine: &Machine, info: &Info) -> Result<Settings> {
        let spec = &machine.spec;
        check_options(info, &spec.options)?;
        let image = spec.image.as_ref();
        let refuse = |option: &str, reason: String| Error::InvalidOption {
            option: option.into(),
            value: spec.option(option, "").into(),
            reason,
        };
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
        let no_kernel = image.is_some_and(|image| image.kernel.is_none());
        let boot = match (spec.option("boot", "auto"), no_kernel) {
            ("efi", _) | ("auto", true) => BootKind::Efi,
            ("direct", true) => {
                let reason = "the image has no kernel beside its disk";
                return Err(refuse("boot", reason.into()));
            }
            (_, _) => BootKind::Direct,
        };
        let network = Network::try_from(spec.option("network", "user").to_owned())
            .map_err(|reason| refuse("network", reason))?;
        Ok(Settings {
            accelerator: Accelerator::named(spec.option("accel", "auto")),
            machine_type: machine_type.into(),
            cpu: spec.options.get("cpu").cloned(),
            boot,
            network,
        })
    }
}
