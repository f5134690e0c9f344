//! Certificates for TLS endpoints: a CA of one's own, what it signs for servers and clients, and what a certificate
//! says.
//!
//! Keys are ECDSA on P-256, which every TLS client and every engine takes. Nothing here touches a disk or a network:
//! the caller keeps the files, and hands the same certificates to an engine that ends TLS itself.

mod issue;
mod read;

pub use issue::{Authority, Pair};
pub use read::{Certificate, is_pair, read};

use std::time::Duration;

/// How long a CA is valid.
pub const CA_LIFE: Duration = Duration::from_secs(3650 * DAY);

/// How long a server's or client's certificate is valid. Apple's clients refuse more than 398 days.
pub const LEAF_LIFE: Duration = Duration::from_secs(397 * DAY);

/// Certificates are valid since this long before they are made: clocks differ.
pub const SKEW: Duration = Duration::from_secs(3600);

const DAY: u64 = 24 * 3600;

/// A certificates call's outcome.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Making a key or signing failed; so does a name that cannot be part of a certificate.
    #[error("no certificate can be made: {0}")]
    Make(#[from] rcgen::Error),
    /// It is no certificate.
    #[error("it is not a certificate: {0}")]
    Read(String),
    /// The CA's key and its certificate do not belong together.
    #[error("the key is not that of the CA's certificate")]
    WrongKey,
}
