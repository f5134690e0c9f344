//! Refusing what cannot be met before anything is made, and telling what this computer offers.

use std::path::Path;

use berth_driver_api::{Error, Finding, Info, Machine, Probe, Result, process};

use crate::accel::{self, Accelerator};
use crate::launch::{no_firmware, program};
use crate::options::{BootKind, Network, Settings};
use crate::{firmware, network};

/// Debian with an engine does not come up in less.
const LEAST_MEMORY: u64 = 256 << 20;

/// What QEMU's machine types take without further options.
const MOST_CPUS: u32 = 255;

/// The oldest QEMU with all that is used here: network helpers came with it.
const OLDEST: (u32, u32) = (7, 2);

/// Checks a machine's size, options and what they need; without an image, all that does not depend on it.
pub(crate) fn machine(machine: &Machine, info: &Info) -> Result<Settings> {
    let settings = Settings::of(machine, info)?;
    let image = machine.spec.image.as_ref();
    let arch = image.map_or(std::env::consts::ARCH, |image| image.arch.as_str());
    size(machine)?;
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

fn size(machine: &Machine) -> Result<()> {
    let spec = &machine.spec;
    let refuse = |option: &str, value: String, reason: String| {
        Err(Error::InvalidOption {
            option: option.into(),
            value,
            reason,
        })
    };
    let host_cpus = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let most = (4 * host_cpus).clamp(8, MOST_CPUS);
    if !(1..=most).contains(&spec.cpus) {
        let reason = format!("must be 1 to {most} on this computer of {host_cpus} CPUs");
        return refuse("cpus", spec.cpus.to_string(), reason);
    }
    if spec.memory < LEAST_MEMORY {
        return refuse(
            "memory",
            mib(spec.memory),
            format!("is less than {}", mib(LEAST_MEMORY)),
        );
    }
    if let Some(host) = host_memory().filter(|host| spec.memory > *host) {
        return refuse(
            "memory",
            mib(spec.memory),
            format!("is more than this computer has ({})", mib(host)),
        );
    }
    if let Some(image) = &spec.image
        && spec.disk < image.virtual_size
    {
        return refuse(
            "disk",
            mib(spec.disk),
            format!(
                "is smaller than the image's own {}",
                mib(image.virtual_size)
            ),
        );
    }
    Ok(())
}

/// Rounded up, so that a byte too much is seen.
fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn host_memory() -> Option<u64> {
    use nix::unistd::{SysconfVar, sysconf};
    let pages = sysconf(SysconfVar::_PHYS_PAGES).ok()??;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    u64::try_from(pages)
        .ok()?
        .checked_mul(u64::try_from(page).ok()?)
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

    let program = process::find(&qemu);
    match &program {
        None => findings.push(missing("qemu", &qemu)),
        Some(path) => {
            let version = version(&qemu).await;
            let recent = version
                .as_ref()
                .is_some_and(|(number, _)| *number >= OLDEST);
            usable &= recent;
            findings.push(Finding {
                subject: "qemu".into(),
                good: recent,
                detail: match version {
                    Some((_, words)) if recent => format!("{words} ({})", path.display()),
                    Some((_, words)) => {
                        format!("{words} is too old: {}.{} is needed", OLDEST.0, OLDEST.1)
                    }
                    None => format!("{} does not tell its version", path.display()),
                },
                missing_tools: Vec::new(),
            });
            let verdict = accel::decide(path, arch, cache).await;
            findings.push(Finding {
                subject: "acceleration".into(),
                good: verdict.accelerator != Accelerator::Tcg,
                detail: format!("{}: {}", verdict.accelerator.word(), verdict.reason),
                missing_tools: Vec::new(),
            });
        }
    }
    match process::find("qemu-img") {
        None => findings.push(missing("qemu-img", "qemu-img")),
        Some(path) => findings.push(found("qemu-img", path.display().to_string())),
    }
    usable &= program.is_some() && process::find("qemu-img").is_some();
    findings.push(found(
        "firmware",
        match firmware::find(arch) {
            Some(firmware) => firmware.code.display().to_string(),
            None => "no UEFI firmware; only needed for -o boot=efi".into(),
        },
    ));
    Probe { usable, findings }
}

fn found(subject: &str, detail: String) -> Finding {
    Finding {
        subject: subject.into(),
        good: true,
        detail,
        missing_tools: Vec::new(),
    }
}

fn missing(subject: &str, tool: &str) -> Finding {
    Finding {
        subject: subject.into(),
        good: false,
        detail: format!("{tool} is not installed"),
        missing_tools: vec![tool.into()],
    }
}

/// QEMU's version, and its own line about it.
async fn version(program: &str) -> Option<((u32, u32), String)> {
    let mut command = process::command(program).ok()?;
    command.arg("--version");
    let words = process::output(command).await.ok()?;
    let line = String::from_utf8_lossy(&words).lines().next()?.to_owned();
    Some((version_number(&line)?, line))
}

fn version_number(line: &str) -> Option<(u32, u32)> {
    let mut parts = line.split_once("version ")?.1.split(['.', ' ']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let debian = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)";
        assert_eq!(version_number(debian), Some((10, 0)));
        assert_eq!(version_number("QEMU emulator version 7.2.22"), Some((7, 2)));
        assert_eq!(version_number("something else"), None);
    }
}
