//! Sizes that no machine can have on this computer.

use nix::unistd::{SysconfVar, sysconf};

use crate::{Error, Machine, Result};

/// Debian with an engine does not come up in less.
const LEAST_MEMORY: u64 = 256 << 20;

/// Refuses less memory than a guest needs or more than this computer has, and a disk smaller than the image.
///
/// # Errors
/// [`Error::InvalidOption`].
pub fn check(machine: &Machine) -> Result<()> {
    check_on(machine, host_memory())
}

/// As [`check`], for machines on a computer with that much memory, in bytes, if it is known.
///
/// # Errors
/// [`Error::InvalidOption`].
pub fn check_on(machine: &Machine, host_memory: Option<u64>) -> Result<()> {
    let spec = &machine.spec;
    if spec.memory < LEAST_MEMORY {
        return Err(refuse(
            "memory",
            mib(spec.memory),
            format!("is less than {}", mib(LEAST_MEMORY)),
        ));
    }
    if let Some(host) = host_memory.filter(|host| spec.memory > *host) {
        return Err(refuse(
            "memory",
            mib(spec.memory),
            format!("is more than this computer has ({})", mib(host)),
        ));
    }
    if let Some(image) = &spec.image
        && spec.disk < image.virtual_size
    {
        return Err(refuse(
            "disk",
            mib(spec.disk),
            format!(
                "is smaller than the image's own {}",
                mib(image.virtual_size)
            ),
        ));
    }
    Ok(())
}

/// The error for a size, or another option, that is not acceptable.
pub fn refuse(option: &str, value: String, reason: String) -> Error {
    Error::InvalidOption {
        option: option.into(),
        value,
        reason,
    }
}

/// Rounded up, so that a byte too much is seen.
pub fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// This computer's memory in bytes.
fn host_memory() -> Option<u64> {
    let pages = sysconf(SysconfVar::_PHYS_PAGES).ok()??;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    u64::try_from(pages)
        .ok()?
        .checked_mul(u64::try_from(page).ok()?)
}
