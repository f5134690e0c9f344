//! What the files of a machine are called.

/// Names in the machine's folder.
pub(crate) const CONSOLE: &str = "console.log";
pub(crate) const OLD_CONSOLE: &str = "console.log.1";
pub(crate) const READY: &str = "ready";
