//! What the files and sockets of a machine are called.

/// Names in the machine's folder.
pub(crate) const PID_FILE: &str = "qemu.pid";
pub(crate) const LOG: &str = "qemu.log";
pub(crate) const CONSOLE: &str = "console.log";
pub(crate) const OLD_CONSOLE: &str = "console.log.1";
pub(crate) const READY: &str = "ready";
pub(crate) const MEMORY: &str = "memory";

/// Names in the folder of a machine that others are cloned from, beside the disk's.
pub(crate) const SHARED_MEMORY: &str = "shared-memory";
pub(crate) const DEVICES: &str = "devices";

/// What QEMU calls the host's ends of ports.
pub(crate) const AGENT_PORT: &str = "agent";
pub(crate) const CHANNEL_PORT: &str = "channel";

/// What QEMU calls the device of a port.
pub(crate) fn port_device(port: &str) -> String {
    format!("{port}0")
}

/// Names in the machine's socket folder.
pub(crate) const QMP_SOCKET: &str = "qmp";
pub(crate) const WATCH_SOCKET: &str = "watch";
pub(crate) const RENEW_SOCKET: &str = "renew";
pub(crate) const CHANNEL_SOCKET: &str = "channel";
pub(crate) const MIGRATION_SOCKET: &str = "migrate";

/// What the guest agent's pipes there begin with.
pub(crate) const AGENT_PIPES: &str = "agent";

/// The machine's disk, as its QEMU knows it.
pub(crate) const DISK: &str = "disk0";
