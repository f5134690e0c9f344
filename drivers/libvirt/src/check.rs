//! Refusing what cannot be met before anything is made, and telling what a hypervisor offers.

use std::path::PathBuf;

use berth_driver_api::{Error, Execution, Finding, Info, Machine, Probe, Result, process, size};
use berth_driver_qemu::accel::{self, Accelerator, Verdict};
use virt::connect::Connect;

use crate::capabilities;
use crate::domain::Kind;
use crate::failure::failed;
use crate::hypervisor::{Hypervisor, Hypervisors, blocking};
use crate::network;
use crate::options::{DEFAULT_NETWORK, Network, Settings};
use crate::storage;
use berth_driver_qemu::boot::BootKind;

/// What QEMU's machine types take without further options.
const MOST_CPUS: u32 = 255;

/// Checks a machine's size and options, and that its hypervisor has what they need.
///
/// # Errors
/// What is refused and why.
pub(crate) fn machine(
    hypervisors: &Hypervisors,
    machine: &Machine,
    info: &Info,
) -> Result<Settings> {
    let settings = Settings::of(machine, info)?;
    let hypervisor = hypervisors.get(settings.uri.as_ref())?;
    let node = blocking(|| hypervisor.connection.get_node_info())
        .map_err(failed("asking for the hypervisor's computer"))?;
    let cpus = machine.spec.cpus;
    let most = (4 * node.cpus).clamp(8, MOST_CPUS);
    if !(1..=most).contains(&cpus) {
        let reason = format!("must be 1 to {most} on a computer of {} CPUs", node.cpus);
        return Err(size::refuse("cpus", cpus.to_string(), reason));
    }
    size::check_on(machine, node.memory.checked_mul(1024))?;
    let arch = machine
        .spec
        .image
        .as_ref()
        .map_or(std::env::consts::ARCH, |image| image.arch.as_str());
    if !matches!(arch, "x86_64" | "aarch64") {
        return Err(Error::failed(
            "the image",
            format!("is for {arch}, and this driver runs x86_64 and aarch64"),
        ));
    }
    storage::check_pool(&hypervisor, &settings.pool)?;
    let network = network_of(&settings, &hypervisor);
    if network.is_loopback() && hypervisor.uri.is_remote() {
        return Err(Error::InvalidOption {
            option: "network".into(),
            value: network.into(),
            reason:
                "is reached on the hypervisor's own computer only; use network:NAME or bridge:NAME"
                    .into(),
        });
    }
    if let Network::Named(name) = &network {
        network::check(&hypervisor, name)?;
    }
    if hypervisor.kind() == Kind::Qemu {
        if settings.accelerator == Some(Accelerator::Kvm)
            && !capabilities::offers_kvm(hypervisor.capabilities()?, arch)
        {
            return Err(Error::InvalidOption {
                option: "accel".into(),
                value: "kvm".into(),
                reason: "is not offered by the hypervisor (is /dev/kvm there?)".into(),
            });
        }
        if settings.boot == BootKind::Efi {
            firmware(&hypervisor, arch, &settings.machine_type)?;
        }
    }
    Ok(settings)
}

fn firmware(hypervisor: &Hypervisor, arch: &str, machine_type: &str) -> Result<()> {
    let domain = blocking(|| {
        hypervisor.connection.get_domain_capabilities(
            None,
            Some(arch),
            Some(machine_type),
            Some("qemu"),
            0,
        )
    })
    .map_err(failed("asking the hypervisor for its firmware"))?;
    match capabilities::has_efi(&domain) {
        true => Ok(()),
        false => Err(Error::failed(
            format!("finding UEFI firmware for {arch}"),
            "none is installed beside the hypervisor (Debian's packages: ovmf, qemu-efi-aarch64)",
        )),
    }
}

/// The machine's network: what was asked for, or what the hypervisor can do without further rights.
pub(crate) fn network_of(settings: &Settings, hypervisor: &Hypervisor) -> Network {
    settings
        .network
        .clone()
        .unwrap_or_else(|| match hypervisor.shares_files() {
            true => Network::User,
            false => Network::Named(DEFAULT_NETWORK.into()),
        })
}

/// What machines of `arch` are run by there, by evidence.
///
/// # Errors
/// If the hypervisor does not answer.
pub(crate) async fn accelerator(hypervisor: &Hypervisor, arch: &str) -> Result<Verdict> {
    let program = process::find(&format!("qemu-system-{arch}"));
    let here = !hypervisor.uri.is_remote();
    // Where libvirt's QEMU has rights that the user has not, libvirt's own word is all there is.
    if let (true, Some(program)) = (
        here && (hypervisor.shares_files() || accel::open_device().is_ok()),
        program,
    ) {
        return Ok(accel::decide(&program, arch, &cache()).await);
    }
    let software = |reason: &str| Verdict {
        accelerator: Accelerator::Tcg,
        reason: format!("{reason}: software emulation it is"),
    };
    let capabilities = hypervisor.capabilities()?;
    if !capabilities::offers_kvm(capabilities, arch) {
        return Ok(software(&format!(
            "the hypervisor offers no KVM for {arch}"
        )));
    }
    Ok(
        match arch != "x86_64" || cpu_virtualizes(&hypervisor.connection, capabilities) {
            true => Verdict {
                accelerator: Accelerator::Kvm,
                reason: "the hypervisor offers KVM, and its CPU can".into(),
            },
            false => software("the hypervisor offers KVM, but its CPU shows neither vmx nor svm"),
        },
    )
}

/// A CPU's model stands for many of its features: the hypervisor spells them out.
fn cpu_virtualizes(connection: &Connect, capabilities: &str) -> bool {
    let Some(cpu) = capabilities::host_cpu(capabilities) else {
        return false;
    };
    let expand = virt::sys::VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES;
    capabilities::virtualizes(&cpu)
        || blocking(|| connection.baseline_cpu(&[cpu.as_str()], expand))
            .is_ok_and(|expanded| capabilities::virtualizes(&expanded))
}

/// Where the outcome of a trial is kept. No machine is known when one is made, and so no berth home.
fn cache() -> PathBuf {
    let from = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    from("XDG_CACHE_HOME")
        .or_else(|| Some(from("HOME")?.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("berth")
}

/// Looks at libvirt's own choice of a hypervisor.
pub(crate) async fn computer(hypervisors: &Hypervisors) -> Probe {
    let unusable = |finding| Probe {
        usable: false,
        execution: Execution::Unknown,
        findings: vec![finding],
    };
    let hypervisor = match hypervisors.get(None) {
        Ok(hypervisor) => hypervisor,
        Err(error) => return unusable(Finding::bad("libvirt", error.to_string())),
    };
    let versions = blocking(|| {
        let connection = &hypervisor.connection;
        Ok((connection.get_lib_version()?, connection.get_hyp_version()?))
    });
    let mut findings = match versions.map_err(failed("asking for versions")) {
        Ok((library, emulator)) => vec![Finding::good(
            "libvirt",
            format!(
                "libvirt {}, QEMU {} ({})",
                version(library),
                version(emulator),
                hypervisor.uri
            ),
        )],
        Err(error) => return unusable(Finding::bad("libvirt", error.to_string())),
    };
    let mut execution = Execution::Unknown;
    match accelerator(&hypervisor, std::env::consts::ARCH).await {
        Ok(verdict) => {
            execution = verdict.execution();
            findings.push(verdict.finding());
        }
        Err(error) => findings.push(Finding::bad("acceleration", error.to_string())),
    }
    Probe {
        usable: true,
        execution,
        findings,
    }
}

/// libvirt's versions are numbers: a million for each major one, a thousand for each minor one.
fn version(number: u32) -> String {
    format!(
        "{}.{}.{}",
        number / 1_000_000,
        number / 1000 % 1000,
        number % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_as_people_write_them() {
        assert_eq!(version(9_000_000), "9.0.0");
        assert_eq!(version(11_003_012), "11.3.12");
    }
}
