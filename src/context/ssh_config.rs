//! ssh configuration: `ssh NAME.berth`, `scp`, rsync and editors reach machines by their names.
//!
//! Every machine has a file of its own; one `Include` line in `~/.ssh/config` takes them all in.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use berth_provision::ssh::{Target, jump_arguments};

use super::{Error, Result};
use crate::store::{self, Home};

/// The host name that stands for a machine in ssh's configuration.
pub fn alias(machine: &str) -> String {
    format!("{machine}.berth")
}

/// The `Host` block of a machine.
pub fn block(machine: &str, target: &Target) -> String {
    let mut text = format!(
        "Host {alias}\n  HostName {host}\n  Port {port}\n  User {user}\n  HostKeyAlias {alias}\n  \
         UserKnownHostsFile {known_hosts}\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n",
        alias = alias(machine),
        host = target.host,
        port = target.port,
        user = target.user,
        known_hosts = quote(&target.known_hosts),
    );
    if let Some(key) = target.key.file() {
        let key = quote(key);
        text.push_str(&format!("  IdentityFile {key}\n  IdentitiesOnly yes\n"));
    }
    text.push_str("  ConnectTimeout 60\n");
    if !target.jump.is_empty() {
        // Not ProxyJump, which would look up the hosts on the way in this file instead of the user's.
        let way = jump_arguments(&target.jump, "[%h]:%p").join(" ");
        text.push_str(&format!("  ProxyCommand ssh {way}\n"));
    }
    text
}

/// The line that `~/.ssh/config` needs, before any `Host`.
pub fn include_line(home: &Home) -> String {
    format!("Include {}", quote(&home.machines().join("*/ssh_config")))
}

/// Puts the include line at the top of `~/.ssh/config`; `false` if it was there.
///
/// # Errors
/// If the file cannot be read or written.
pub fn install(home: &Home) -> Result<bool> {
    let folder = etcetera::home_dir()
        .map_err(|_| Error::NoFolder)?
        .join(".ssh");
    let path = folder.join("config");
    let old = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(store::Error::io(path)(error).into()),
    };
    let line = include_line(home);
    if old.lines().any(|existing| existing.trim() == line) {
        return Ok(false);
    }
    store::create_private_folder(&folder)?;
    let target: PathBuf = fs::canonicalize(&path).unwrap_or(path);
    store::write_private(&target, format!("{line}\n\n{old}").as_bytes())?;
    Ok(true)
}

/// ssh_config(5): arguments with spaces go in double quotes; `%` starts a token.
fn quote(path: &Path) -> String {
    let text = path.display().to_string().replace('%', "%%");
    if text.contains(' ') {
        format!("\"{text}\"")
    } else {
        text
    }
}
