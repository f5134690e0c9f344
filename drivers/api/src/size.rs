//! Sizes as people write them, and those that no machine can have on this computer.

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

/// Whether a disk of `now` bytes becomes a larger one of `wanted`. A file system does not survive a smaller disk.
///
/// # Errors
/// [`Error::InvalidOption`] for one that would shrink.
pub fn grows(now: u64, wanted: u64) -> Result<bool> {
    if wanted < now {
        let reason = format!("is less than the {} that it has: disks only grow", mib(now));
        return Err(refuse("disk", mib(wanted), reason));
    }
    Ok(wanted > now)
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

/// Reads a size in bytes: a whole or decimal number with `K`, `M`, `G`, `T` (or `KiB`, `MB` and so on), all powers of
/// 1024 as in docker's `--memory`; without a unit it is bytes.
///
/// # Errors
/// A sentence on what is wrong.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let digits = trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let number: f64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a size such as 2G or 512M"))?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        other => return Err(format!("{other:?} is not a unit of size: use K, M, G or T")),
    };
    let bytes = number * (1u64 << shift) as f64;
    if bytes < 1.0 {
        return Err(format!("{text:?} is nothing"));
    }
    if bytes > (1u64 << 50) as f64 {
        return Err(format!("{text:?} is more than a machine can have"));
    }
    Ok(bytes as u64)
}

/// A size for people: `2 GiB`, `512 MiB`, `1.5 GiB`.
pub fn show_size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let rounded = (value * 10.0).round() / 10.0;
    format!("{rounded} {}", units[unit])
}

/// This computer's memory in bytes.
fn host_memory() -> Option<u64> {
    let pages = sysconf(SysconfVar::_PHYS_PAGES).ok()??;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    u64::try_from(pages)
        .ok()?
        .checked_mul(u64::try_from(page).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        assert_eq!(parse_size("2G"), Ok(2 << 30));
        assert_eq!(parse_size("2gib"), Ok(2 << 30));
        assert_eq!(parse_size("1.5G"), Ok(3 << 29));
        assert_eq!(parse_size("512 m"), Ok(512 << 20));
        assert_eq!(parse_size("4096"), Ok(4096));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for bad in [
            "", "abc", "G", "1PB", "0", "0G", "-1G", "1..5G", "9999T", "nan", "1e9",
        ] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_shown_short() {
        assert_eq!(show_size(2 << 30), "2 GiB");
        assert_eq!(show_size(3 << 29), "1.5 GiB");
        assert_eq!(show_size(100), "100 B");
    }
}
