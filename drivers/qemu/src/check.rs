//! Refusing what cannot be met before anything is made, and telling what this computer offers.

use std::path::Path;

use berth_driver_api::{Error, Execution, Finding, Info, Machine, Probe, Result, process, size};

use crate::accel::{self, Accelerator};
use crate::boot::BootKind;
use crate::launch::{FIRMWARE, no_firmware, program};
use crate::options::{Network, Settings};
use crate::{firmware, network, shares};

/// What QEMU's machine types take without further options.
const MOST_CPUS: u32 = 255;

/// The oldest QEMU with all that is used here: network helpers came with it.
const OLDEST: (u32, u32) = (7, 2);

/// Checks a machine's size, options and what they need; without an image, all that does not depend on it.
pub(crate) fn machine(machine: &Machine, info: &Info) -> Result<Settings> {
    let settings = Settings::of(machine, info)?;
    let image = machine.spec.image.as_ref();
    let arch = image.map_or(std::env::consts::ARCH, |image| image.arch.as_str());
    cpus(machine)?;
    size::check(machine)?;
    if !matches!(arch, "x86_64" | "aarch64") {
        return Err(Error::failed(
            "the image",
            format!("is for {arch}, and this driver runs x86_64 and aarch64"),
        ));
    }
    for tool in [program(arch).as_str(), "qemu-img"] {
        if process::find(tool).is_none() {
            return Err(Error::ToolMissing { tool: tool.into() });
        }
    }
    accelerator(settings.accelerator, arch)?;
    if settings.boot == BootKind::Efi && firmware::find(arch).is_none() {
        return Err(no_firmware(arch));
    }
    match &settings.network {
        Network::User => {}
        Network::Passt if process::find("passt").is_some() => {}
        Network::Passt => {
            return Err(Error::ToolMissing {
                tool: "passt".into(),
            });
        }
        Network::Bridge(name) => bridge(name)?,
    }
    Ok(settings)
}

fn cpus(machine: &Machine) -> Result<()> {
    let cpus = machine.spec.cpus;
    let host_cpus = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let most = (4 * host_cpus).clamp(8, MOST_CPUS);
    if !(1..=most).contains(&cpus) {
        let reason = format!("must be 1 to {most} on this computer of {host_cpus} CPUs");
        return Err(size::refuse("cpus", cpus.to_string(), reason));
    }
    Ok(())
}

fn accelerator(wanted: Option<Accelerator>, arch: &str) -> Result<()> {
    let host = std::env::consts::ARCH;
    let reason = match wanted {
        None | Some(Accelerator::Tcg) => return Ok(()),
        Some(_) if arch != host => format!("runs no {arch} guest on this {host} computer"),
        Some(Accelerator::Kvm) => match accel::open_device() {
            Ok(()) => return Ok(()),
            Err(error) => format!("/dev/kvm cannot be opened: {error}"),
        },
        Some(Accelerator::Hvf) if cfg!(target_os = "macos") => return Ok(()),
        Some(Accelerator::Hvf) => "is macOS's".into(),
    };
    Err(Error::InvalidOption {
        option: "accel".into(),
        value: wanted.map_or("auto", Accelerator::word).into(),
        reason,
    })
}

fn bridge(name: &str) -> Result<()> {
    if !Path::new("/sys/class/net")
        .join(name)
        .join("bridge")
        .exists()
    {
        return Err(Error::InvalidOption {
            option: "network".into(),
            value: format!("bridge:{name}"),
            reason: format!("this computer has no bridge {name}"),
        });
    }
    match network::bridge_helper() {
        Some(_) => Ok(()),
        None => Err(Error::ToolMissing {
            tool: "qemu-bridge-helper".into(),
        }),
    }
}

/// Looks at this computer.
pub(crate) async fn computer(cache: &Path) -> Probe {
    let arch = std::env::consts::ARCH;
    let qemu = program(arch);
    let mut findings = Vec::new();
    let mut usable = true;
    let mut execution = Execution::Unknown;

    let program = process::find(&qemu);
    match &program {
        None => findings.push(Finding::missing("qemu", &qemu)),
        Some(path) => {
            let version = process::version(&qemu).await;
            let recent = version
                .as_ref()
                .is_some_and(|(number, _)| *number >= OLDEST);
            usable &= recent;
            findings.push(Finding::new(
                "qemu",
                recent,
                match version {
                    Some((_, words)) if recent => format!("{words} ({})", path.display()),
                    Some((_, words)) => {
                        format!("{words} is too old: {}.{} is needed", OLDEST.0, OLDEST.1)
                    }
                    None => format!("{} does not tell its version", path.display()),
                },
            ));
            let verdict = accel::decide(path, arch, cache).await;
            execution = verdict.execution();
            findings.push(verdict.finding());
        }
    }
    match process::find("qemu-img") {
        None => findings.push(Finding::missing("qemu-img", "qemu-img")),
        Some(path) => findings.push(Finding::good("qemu-img", path.display().to_string())),
    }
    usable &= program.is_some() && process::find("qemu-img").is_some();
    findings.push(match firmware::find(arch) {
        Some(firmware) => Finding::good("firmware", firmware.code.display().to_string()),
        None => Finding {
            missing_tools: vec![format!("{FIRMWARE}-{arch}")],
            ..Finding::good(
                "firmware",
                "no UEFI firmware; only needed for images with a boot loader of their own, and -o boot=efi",
            )
        },
    });
    if cfg!(target_os = "linux") {
        findings.push(Finding::good(
            "virtiofsd",
            match shares::program() {
                Some(path) => path.display().to_string(),
                None => "not installed; folders of this computer come to machines over SSH, which is slower".into(),
            },
        ));
    }
    Probe {
        usable,
        execution,
        findings,
    }
}
