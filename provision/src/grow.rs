//! A guest that was given more while it runs.

use crate::renew::as_root;
use crate::ssh::Session;
use crate::{Error, Result};

const SCRIPT: &str = include_str!("grow.sh");

/// Has the guest take up memory and CPUs that were plugged in, and grow its root partition and file system to the end of
/// a disk of `disk` bytes; 0 leaves it alone. Done twice, it changes nothing.
///
/// # Errors
/// [`Error::Command`] with what is in the way; the connection's errors.
pub async fn grow(session: &Session, disk: u64) -> Result<()> {
    let script = format!("bytes={disk}\n{SCRIPT}");
    let output = session.exec(&as_root(&script)).await?;
    match output.success() {
        true => Ok(()),
        false => {
            let doing = "taking up what it was given";
            Err(Error::command(session.host(), doing, &output))
        }
    }
}
