//! Who a machine is: the key that it lets in and the host key that it is known by.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_driver_api::Credential;
use berth_provision::ssh::generate_key;

use super::{Error, Result};
use crate::context::ssh_config;
use crate::store::{self, MachineFolder};

/// Makes both keys, once: the user's pair stays in the machine's folder, the host's private key until it is handed
/// over.
///
/// # Errors
/// If a file cannot be written.
pub fn make(folder: &MachineFolder, name: &str) -> Result<()> {
    let host_key = host_key_file(folder);
    if folder.key().exists() && folder.known_hosts().exists() && host_key.exists() {
        return Ok(());
    }
    let failed = Error::provision(name);
    let user = generate_key(&format!("berth {name}")).map_err(failed)?;
    let host = generate_key(&ssh_config::alias(name)).map_err(Error::provision(name))?;
    let public = folder.key().with_extension("pub");
    let known_hosts = format!(
        "{} {}\n",
        ssh_config::alias(name),
        host.public_openssh.trim()
    );
    store::write_private(&folder.key(), user.private_openssh.as_bytes())?;
    store::write_private(
        &public,
        format!("{}\n", user.public_openssh.trim()).as_bytes(),
    )?;
    store::write_private(&host_key, host.private_openssh.as_bytes())?;
    // Last: its presence says that all are there.
    store::write_private(&folder.known_hosts(), known_hosts.as_bytes())?;
    Ok(())
}

/// Makes a key for berth to log in with, once, for a host that has a host key of its own.
///
/// # Errors
/// If a file cannot be written.
pub fn make_login_key(folder: &MachineFolder, name: &str) -> Result<()> {
    if folder.key().exists() {
        return Ok(());
    }
    let user = generate_key(&format!("berth {name}")).map_err(Error::provision(name))?;
    let public = format!("{}\n", user.public_openssh.trim());
    store::write_private(&folder.key().with_extension("pub"), public.as_bytes())?;
    // Last: its presence says that both are there.
    Ok(store::write_private(
        &folder.key(),
        user.private_openssh.as_bytes(),
    )?)
}

/// What the guest is handed at first boot (systemd.system-credentials(7)): the user's public key, the host key, the
/// host name.
///
/// # Errors
/// If a key file cannot be read.
pub fn credentials(folder: &MachineFolder, name: &str) -> Result<Vec<Credential>> {
    let read = |path: std::path::PathBuf| {
        std::fs::read(&path).map_err(|error| Error::Store(store::Error::io(&path)(error)))
    };
    let host_key = STANDARD.encode(read(host_key_file(folder))?);
    let host_public = host_public(folder, name)?;
    let extra = format!(
        "f+~ /etc/ssh/ssh_host_ed25519_key 0600 root root - {host_key}\n\
         f+~ /etc/ssh/ssh_host_ed25519_key.pub 0644 root root - {}\n\
         f+ /etc/hostname 0644 root root - {name}\n\
         w /proc/sys/kernel/hostname - - - - {name}\n",
        STANDARD.encode(host_public)
    );
    Ok(vec![
        Credential {
            name: "ssh.authorized_keys.root".into(),
            value: read(folder.key().with_extension("pub"))?,
        },
        Credential {
            name: "tmpfiles.extra".into(),
            value: extra.into_bytes(),
        },
    ])
}

/// The line of tmpfiles.d(5) by which a guest that knows others lets `key` in from its next boot on.
pub fn lets_in(key: &str) -> String {
    format!(
        "f+ /root/.ssh/authorized_keys2 0600 root root - {}\\n\n",
        key.trim()
    )
}

/// Credentials with more lines of tmpfiles.d(5) for the guest.
pub fn with_lines(credentials: Vec<Credential>, lines: &str) -> Vec<Credential> {
    credentials
        .into_iter()
        .map(|mut credential| {
            if credential.name == "tmpfiles.extra" {
                credential.value.extend(lines.bytes());
            }
            credential
        })
        .collect()
}

/// The key that the machine lets in, as a line of authorized_keys.
///
/// # Errors
/// If its file cannot be read.
pub fn public_key(folder: &MachineFolder) -> Result<String> {
    let path = folder.key().with_extension("pub");
    std::fs::read_to_string(&path).map_err(|error| Error::Store(store::Error::io(&path)(error)))
}

/// The host's private key, as long as the guest does not have it.
///
/// # Errors
/// If it is there and cannot be read.
pub fn host_key(folder: &MachineFolder) -> Result<Option<String>> {
    let path = host_key_file(folder);
    match std::fs::read_to_string(&path) {
        Ok(key) => Ok(Some(key)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::Store(store::Error::io(&path)(error))),
    }
}

/// Has the machine known by another name, with the host key that it has.
///
/// # Errors
/// If its known_hosts cannot be read or written.
pub fn rename(folder: &MachineFolder, name: &str) -> Result<()> {
    let known_hosts = format!("{} {}", ssh_config::alias(name), host_key_of(folder)?);
    Ok(store::write_private(
        &folder.known_hosts(),
        format!("{}\n", known_hosts.trim()).as_bytes(),
    )?)
}

/// The host's public key, as `type base64`.
fn host_key_of(folder: &MachineFolder) -> Result<String> {
    let path = folder.known_hosts();
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Error::Store(store::Error::io(&path)(error)))?;
    Ok(text
        .trim()
        .split_once(' ')
        .map_or("", |(_, key)| key)
        .to_owned())
}

/// Forgets the host's private key once the guest has it.
pub fn handed_over(folder: &MachineFolder) {
    // A key that stays is no harm: the folder is private.
    let _ = std::fs::remove_file(host_key_file(folder));
}

fn host_key_file(folder: &MachineFolder) -> std::path::PathBuf {
    folder.path().join("ssh_host_ed25519_key")
}

/// The host's public key as a line of `ssh_host_ed25519_key.pub`.
///
/// # Errors
/// If the machine's known_hosts cannot be read.
pub fn host_public(folder: &MachineFolder, name: &str) -> Result<String> {
    Ok(format!(
        "{} {}\n",
        host_key_of(folder)?,
        ssh_config::alias(name)
    ))
}
