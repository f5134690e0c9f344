//! Loopback TCP ports, leased to machines for as long as they exist.
//!
//! A lease is a file named after the port that holds the machine's id. It is made with `O_EXCL`, so two berth
//! processes never lease one port; a port that a stranger listens on is skipped. The lease outlives the machine's
//! power state: its SSH address stays the same from start to start.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::{Error, Machine, Progress, Result};

/// The ports that machines get their SSH address from, unless `BERTH_PORTS=FIRST-LAST` says otherwise.
/// Systems give connections that go out ports from 32768 (Linux, `ip_local_port_range`) or 49152 (macOS, RFC 6335) on:
/// one of those could be in use just when its machine starts.
pub const DEFAULT_RANGE: (u16, u16) = (28000, 31999);

/// The environment variable that changes the range.
pub const RANGE_VARIABLE: &str = "BERTH_PORTS";

/// How often a machine that is started gets another port.
pub const MOST_EXCHANGES: usize = 5;

/// Another port for a machine that found a stranger on `taken`, which is said.
///
/// # Errors
/// As [`Ports::exchange`].
pub fn exchange_taken(machine: &Machine, taken: u16, progress: &dyn Progress) -> Result<u16> {
    let port = Ports::open(&machine.ports)?.exchange(machine.id)?;
    progress.note(&format!(
        "another program listens on port {taken}: SSH is on port {port} now"
    ));
    Ok(port)
}

/// The error of a machine that found strangers on its ports [`MOST_EXCHANGES`] times.
pub fn always_taken(doing: &str) -> Error {
    let times = format!("other programs took the machine's port {MOST_EXCHANGES} times in a row");
    Error::failed(doing, times)
}

/// The leases in one folder.
pub struct Ports {
    folder: PathBuf,
    first: u16,
    last: u16,
}

impl Ports {
    /// Opens the leases in `folder`, which is made if need be.
    ///
    /// # Errors
    /// If the folder cannot be made, or `BERTH_PORTS` is not a range.
    pub fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let (first, last) = match std::env::var(RANGE_VARIABLE) {
            Ok(range) => parse_range(&range)?,
            Err(_) => DEFAULT_RANGE,
        };
        Ok(Ports {
            folder: folder.to_owned(),
            first,
            last,
        })
    }

    /// The port leased to `machine`: the one it has, or a new one.
    ///
    /// # Errors
    /// [`Error::PortsExhausted`] if every port of the range is leased or listened on.
    pub fn lease(&self, machine: Uuid) -> Result<u16> {
        if let Some(port) = self.leased(machine)? {
            return Ok(port);
        }
        // Start at a place of the machine's own, so that concurrent creates rarely meet.
        let count = u32::from(self.last - self.first) + 1;
        let start = machine.as_u128() as u32 % count;
        for offset in 0..count {
            let port = self.first + ((start + offset) % count) as u16;
            if self.claim(port, machine)? {
                if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                    return Ok(port);
                }
                self.drop_lease(port)?;
            }
        }
        Err(Error::PortsExhausted {
            first: self.first,
            last: self.last,
        })
    }

    /// Gives up the machine's port, if it is taken by a stranger, for another one.
    ///
    /// # Errors
    /// As [`Ports::lease`].
    pub fn exchange(&self, machine: Uuid) -> Result<u16> {
        let old = self.leased(machine)?;
        let id = machine.to_string();
        let count = u32::from(self.last - self.first) + 1;
        let start = u32::from(old.unwrap_or(self.first).saturating_sub(self.first)) + 1;
        for offset in 0..count {
            let port = self.first + ((start + offset) % count) as u16;
            if Some(port) != old && self.claim(port, machine)? {
                if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                    if let Some(old) = old {
                        self.drop_lease(old)?;
                    }
                    return Ok(port);
                }
                self.drop_lease(port)?;
            }
        }
        tracing::debug!(machine = id, "no port to exchange for");
        Err(Error::PortsExhausted {
            first: self.first,
            last: self.last,
        })
    }

    /// Ends the machine's lease, if it has one.
    ///
    /// # Errors
    /// If the lease's file cannot be removed.
    pub fn release(&self, machine: Uuid) -> Result<()> {
        while let Some(port) = self.leased(machine)? {
            self.drop_lease(port)?;
        }
        Ok(())
    }

    /// The port that `machine` has now.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn leased(&self, machine: Uuid) -> Result<Option<u16>> {
        let id = machine.to_string();
        for entry in fs::read_dir(&self.folder).map_err(Error::io(&self.folder))? {
            let entry = entry.map_err(Error::io(&self.folder))?;
            let port = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            if let Some(port) = port
                && fs::read_to_string(entry.path()).is_ok_and(|owner| owner == id)
            {
                return Ok(Some(port));
            }
        }
        Ok(None)
    }

    fn claim(&self, port: u16, machine: Uuid) -> Result<bool> {
        let path = self.path(port);
        let made = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        match made {
            Ok(mut file) => file
                .write_all(machine.to_string().as_bytes())
                .map(|()| true)
                .map_err(Error::io(path)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(Error::io(path)(error)),
        }
    }

    fn drop_lease(&self, port: u16) -> Result<()> {
        let path = self.path(port);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
            _ => Ok(()),
        }
    }

    fn path(&self, port: u16) -> PathBuf {
        self.folder.join(port.to_string())
    }
}

fn parse_range(range: &str) -> Result<(u16, u16)> {
    range
        .split_once('-')
        .and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)))
        .filter(|(first, last)| *first > 0 && first <= last)
        .ok_or_else(|| Error::InvalidOption {
            option: RANGE_VARIABLE.into(),
            value: range.into(),
            reason: "is not a range of ports such as 28000-28999".into(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(folder: &Path, first: u16, last: u16) -> Ports {
        Ports {
            folder: folder.to_owned(),
            first,
            last,
        }
    }

    #[test]
    fn a_machine_keeps_its_port_until_released() -> Result<()> {
        let folder = std::env::temp_dir().join(Uuid::new_v4().to_string());
        fs::create_dir(&folder).map_err(Error::io(&folder))?;
        let ports = ports(&folder, 41000, 41999);
        let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
        let port = ports.lease(one)?;
        assert_eq!(ports.lease(one)?, port);
        assert_ne!(ports.lease(two)?, port);
        ports.release(one)?;
        assert_eq!(ports.leased(one)?, None);
        fs::remove_dir_all(&folder).map_err(Error::io(&folder))
    }

    #[test]
    fn a_strangers_port_is_skipped_and_a_full_range_says_so() -> Result<()> {
        let stranger =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("loopback"))?;
        let port = stranger.local_addr().map_err(Error::io("loopback"))?.port();
        let folder = std::env::temp_dir().join(Uuid::new_v4().to_string());
        fs::create_dir(&folder).map_err(Error::io(&folder))?;
        let refused = ports(&folder, port, port).lease(Uuid::new_v4());
        assert!(matches!(refused, Err(Error::PortsExhausted { .. })));
        fs::remove_dir_all(&folder).map_err(Error::io(&folder))
    }

    #[test]
    fn ranges_are_checked() {
        assert!(parse_range("28000-28001").is_ok());
        for bad in ["", "1", "2-1", "0-5", "a-b", "1-70000"] {
            assert!(parse_range(bad).is_err(), "{bad}");
        }
    }
}
