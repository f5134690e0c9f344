//! How a machine boots.

use serde::{Deserialize, Serialize};

/// What loads the guest's kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BootKind {
    /// QEMU loads the image's kernel.
    Direct,
    /// UEFI firmware boots the disk.
    Efi,
}
