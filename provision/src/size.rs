//! How large a machine is that nobody was asked to make.

use berth_driver_api::Size;

use crate::Result;
use crate::ssh::Session;

/// POSIX's own words where there are some: they hold on every system.
const LOOK: &str = "getconf _NPROCESSORS_ONLN; sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo; \
                    df -Pk / | sed -n '2s/^[^ ]* *\\([0-9]*\\) .*/\\1/p'";

/// Asks a machine how large it is: 0 for what it does not tell; as its disk, the file system of `/`.
///
/// # Errors
/// [`crate::Error::Lost`].
pub async fn size(session: &Session) -> Result<Size> {
    Ok(parse(&session.exec(LOOK).await?.stdout))
}

fn parse(printed: &[u8]) -> Size {
    let text = String::from_utf8_lossy(printed);
    let mut numbers = text.lines().map(|line| line.trim().parse::<u64>().ok());
    let mut next = || numbers.next().flatten().unwrap_or_default();
    let (cpus, memory, disk) = (next(), next(), next());
    Size {
        cpus: u32::try_from(cpus).unwrap_or_default(),
        memory: memory.saturating_mul(1 << 10),
        disk: disk.saturating_mul(1 << 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_computer_tells_all_three() {
        let output = std::process::Command::new("sh")
            .args(["-c", LOOK])
            .output()
            .unwrap();
        let size = parse(&output.stdout);
        assert!(
            size.cpus > 0 && size.memory > 1 << 20 && size.disk > 1 << 20,
            "{size:?}"
        );
    }

    #[test]
    fn what_is_no_number_is_nothing() {
        assert_eq!(parse(b""), Size::default());
        assert_eq!(parse(b"x\n-1\n99999999999999999999999\n"), Size::default());
        assert_eq!(
            parse(b"2\n\n1\n"),
            Size {
                cpus: 2,
                memory: 0,
                disk: 1024
            }
        );
    }
}
