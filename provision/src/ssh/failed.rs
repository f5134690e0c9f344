//! Why an attempt to connect failed.

use crate::Error;

/// Why one attempt failed.
pub(super) enum Failed {
    /// The cause may pass.
    Passing(String),
    /// It will not.
    Final(Error),
}
