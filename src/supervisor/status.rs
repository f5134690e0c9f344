//! What the supervisor says of itself, for `berth status` and `inspect`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::store::{self, MachineFolder};

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

    /// Notes the published ports.
    pub fn ports(&self, rows: BTreeMap<impl Ord, PortRow>) {
        self.update(|status| status.ports = rows.into_values().collect());
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
