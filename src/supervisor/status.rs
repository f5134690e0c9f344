//! What the supervisor says of itself, for `berth status` and `inspect`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::store::{self, MachineFolder, Watch};

/// How long a supervisor may take to see a change of the record, and how long an older complaint of its counts for
/// nothing.
const SETTLES: Duration = Duration::from_secs(10);
const STALE: Duration = Duration::from_secs(1);

/// The content of `supervisor.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The supervisor's process id.
    pub pid: u32,
    /// True while its SSH connection stands.
    pub connected: bool,
    /// Why it does not, if that is known.
    pub trouble: Option<String>,
    /// The containers' published ports.
    pub ports: Vec<PortRow>,
    /// The TLS endpoint, if the machine has one.
    pub tls: Option<TlsRow>,
    /// The folders of this computer that the machine is to see.
    pub mounts: Vec<MountRow>,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MountRow {
    /// Where it is in the machine.
    pub guest: String,
    /// `virtiofs` or `sshfs`; none if it is not mounted.
    pub transport: Option<String>,
    /// Why it is not mounted, if it cannot be.
    pub error: Option<String>,
}

/// The TLS endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsRow {
    /// Where it listens: `127.0.0.1:42001`; none if it does not.
    pub address: Option<SocketAddr>,
    /// The number of the certificate that it shows.
    #[serde(default)]
    pub serial: Option<String>,
    /// What is wrong with it; none if nothing is.
    pub error: Option<String>,
}

/// One published port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortRow {
    /// Where it listens on this computer: `127.0.0.1:8080`.
    pub host: String,
    /// The port inside the machine.
    pub guest_port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The container's name.
    pub container: String,
    /// Why it is not forwarded; none if it is.
    pub error: Option<String>,
}

impl Status {
    /// The status of a machine's living supervisor; `None` if it has none.
    pub fn read(folder: &MachineFolder) -> Option<Self> {
        store::holder(&folder.supervisor_lock())?;
        let bytes = std::fs::read(folder.supervisor_status()).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

/// Waits until a living supervisor has opened the TLS endpoint where `wanted` says, with the certificate of that
/// number, or has closed it.
///
/// # Errors
/// What the supervisor says of it, or that it says nothing.
pub async fn tls_settles(
    folder: &MachineFolder,
    wanted: Option<(SocketAddr, String)>,
) -> Result<(), String> {
    let begun = Instant::now();
    let mut watch = Watch::new().map_err(|error| error.to_string())?;
    watch
        .folder(folder.path())
        .map_err(|error| error.to_string())?;
    loop {
        let Some(status) = Status::read(folder) else {
            return Ok(());
        };
        let (serves, error) = match status.tls {
            Some(row) => (row.address.zip(row.serial), row.error),
            None => (None, None),
        };
        if serves == wanted && error.is_none() {
            return Ok(());
        }
        // What it said before it knew of the change passes by within this time.
        let left = match error {
            Some(_) => STALE.saturating_sub(begun.elapsed()),
            None => SETTLES.saturating_sub(begun.elapsed()),
        };
        if left.is_zero() {
            return Err(error.unwrap_or_else(|| "its supervisor does not notice it".into()));
        }
        let _ = tokio::time::timeout(left, watch.next()).await;
    }
}

/// The status as it is kept up to date by the supervisor's parts.
pub struct Board {
    path: PathBuf,
    status: Mutex<Status>,
}

impl Board {
    /// A board that writes to `path`.
    pub fn new(path: &Path) -> Self {
        let board = Board {
            path: path.to_owned(),
            status: Mutex::new(Status {
                pid: std::process::id(),
                ..Status::default()
            }),
        };
        board.update(|_| {});
        board
    }

    /// Notes how the SSH connection is.
    pub fn connection(&self, trouble: Option<String>) {
        self.update(|status| {
            status.connected = trouble.is_none();
            status.trouble = trouble;
        });
    }

    /// Notes how the TLS endpoint is.
    pub fn tls(&self, row: Option<TlsRow>) {
        self.update(|status| status.tls = row);
    }

    /// Notes the published ports.
    pub fn ports(&self, rows: BTreeMap<impl Ord, PortRow>) {
        self.update(|status| status.ports = rows.into_values().collect());
    }

    /// Notes how a mount is.
    pub fn mount(&self, row: MountRow) {
        self.update(|status| {
            status.mounts.retain(|other| other.guest != row.guest);
            status.mounts.push(row);
            status.mounts.sort();
        });
    }

    /// Notes that a mount is no more.
    pub fn no_mount(&self, guest: &str) {
        self.update(|status| status.mounts.retain(|row| row.guest != guest));
    }

    fn update(&self, change: impl FnOnce(&mut Status)) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let before = status.clone();
        change(&mut status);
        if *status == before && self.path.exists() {
            return;
        }
        let text = serde_json::to_vec(&*status).unwrap_or_default();
        if let Err(error) = store::write_private(&self.path, &text) {
            tracing::warn!(%error, "the status is not written");
        }
    }
}
