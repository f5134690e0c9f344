//! What the files of a machine are called, and the mark in its console's log.

/// Names in the machine's folder.
pub(crate) const PID_FILE: &str = "uml.pid";
pub(crate) const CONSOLE: &str = "console.log";
pub(crate) const OLD_CONSOLE: &str = "console.log.1";
pub(crate) const READY: &str = "ready";
pub(crate) const LOADER: &str = "ld.so";

/// The line in the console's log before what the kernel says.
pub(crate) const STARTED: &str = "--- berth starts the machine";
