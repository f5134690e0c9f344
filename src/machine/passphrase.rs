//! The passphrases of the user's own keys.

use std::path::{Path, PathBuf};

use berth_provision::ssh::{self, Key, Passphrase};
use sha2::{Digest, Sha256};

use super::{Berth, Error, Result};
use crate::secrets::Secrets;
use crate::store;

/// Keeps the passphrase of a key's file, once it has opened it.
///
/// # Errors
/// [`Error::BadRequest`] if it does not, or the key wants none.
pub async fn keep_passphrase(berth: &Berth, file: &Path, passphrase: &Passphrase) -> Result<()> {
    let file = absolute(file)?;
    std::fs::metadata(&file).map_err(store::Error::io(&file))?;
    let bad = |error: berth_provision::Error| Error::BadRequest {
        what: "passphrase".into(),
        reason: error.to_string(),
    };
    if !ssh::is_sealed(&file).await.map_err(bad)? {
        return Err(Error::BadRequest {
            what: "passphrase".into(),
            reason: format!("the key {} has none", file.display()),
        });
    }
    ssh::open(&file, passphrase).await.map_err(bad)?;
    berth.home.prepare()?;
    let (secrets, name) = (Secrets::of(&berth.home), name(&file));
    Ok(secrets.put(&name, passphrase.reveal().as_bytes())?)
}

/// Forgets the passphrase of a key's file; one that is not known is a success.
///
/// # Errors
/// If it cannot be removed.
pub fn forget_passphrase(berth: &Berth, file: &Path) -> Result<()> {
    // It may be gone, and its passphrase is to go then too.
    let file = absolute(file)?;
    Ok(Secrets::of(&berth.home).remove(&name(&file))?)
}

/// The key in a file of the user's, with its passphrase if it wants one that is kept.
///
/// # Errors
/// If the passphrase is there but cannot be had.
pub(super) async fn key(secrets: &Secrets, file: &Path) -> Result<Key> {
    // One that cannot be read is told of when it is used.
    if !ssh::is_sealed(file).await.unwrap_or(false) {
        return Ok(Key::File(file.to_owned()));
    }
    let (secrets, name) = (secrets.clone(), name(file));
    // The keyring may wait for its user.
    let kept = tokio::task::spawn_blocking(move || secrets.get(&name)).await;
    let kept = kept.map_err(|error| crate::secrets::Error::Keyring(error.to_string()))??;
    let passphrase = kept.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(match passphrase {
        Some(passphrase) => Key::Sealed {
            file: file.to_owned(),
            passphrase: Passphrase::new(passphrase),
        },
        None => Key::File(file.to_owned()),
    })
}

/// The file, by the path that is recorded.
fn absolute(file: &Path) -> Result<PathBuf> {
    Ok(std::path::absolute(file).map_err(store::Error::io(file))?)
}

fn name(file: &Path) -> String {
    let digest = Sha256::digest(file.as_os_str().as_encoded_bytes());
    let hex: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
    format!("ssh-key-{hex}")
}
