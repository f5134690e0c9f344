//! Keys that a passphrase opens.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::{PrivateKey, decode_secret_key};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::{Error, Result};

/// What opens a key; it is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Passphrase(String);

impl Passphrase {
    /// The passphrase that somebody typed.
    pub fn new(text: String) -> Self {
        Passphrase(text)
    }

    /// As it is kept.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// A key that was opened: many connections use the same one, and opening takes long by intention (bcrypt).
struct Opened {
    file: PathBuf,
    text: String,
    passphrase: Passphrase,
    key: Arc<PrivateKey>,
}

static OPENED: Mutex<Vec<Opened>> = Mutex::const_new(Vec::new());

/// Whether a key's file wants a passphrase.
///
/// # Errors
/// [`Error::Io`]; [`Error::KeyFile`] if it is no key.
pub async fn is_sealed(file: &Path) -> Result<bool> {
    match plain(file).await {
        Ok(_) => Ok(false),
        Err(Error::KeySealed { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The key in a file that wants none.
///
/// # Errors
/// [`Error::KeySealed`] if it does; as [`is_sealed`].
pub(super) async fn plain(file: &Path) -> Result<Arc<PrivateKey>> {
    let text = read(file).await?;
    match decode_secret_key(&text, None) {
        Ok(key) => Ok(Arc::new(key)),
        Err(russh::keys::Error::KeyIsEncrypted) => Err(Error::KeySealed {
            path: file.to_owned(),
        }),
        Err(error) => Err(unusable(file, error.to_string())),
    }
}

/// Opens a key.
///
/// # Errors
/// [`Error::KeyFile`] if it is not this passphrase that does; [`Error::Io`].
pub async fn open(file: &Path, passphrase: &Passphrase) -> Result<Arc<PrivateKey>> {
    let text = read(file).await?;
    // Held meanwhile: who wants the same one waits for it rather than opening it too.
    let mut opened = OPENED.lock().await;
    let same = |one: &&Opened| {
        (one.file.as_path(), &one.text, &one.passphrase) == (file, &text, passphrase)
    };
    if let Some(one) = opened.iter().find(same) {
        return Ok(one.key.clone());
    }
    let (sealed, by) = (text.clone(), passphrase.clone());
    let key = tokio::task::spawn_blocking(move || decode_secret_key(&sealed, Some(&by.0))).await;
    let key = match key {
        Ok(Ok(key)) => Arc::new(key),
        Ok(Err(_)) => return Err(unusable(file, "that is not its passphrase".into())),
        Err(error) => return Err(unusable(file, error.to_string())),
    };
    opened.push(Opened {
        file: file.to_owned(),
        text,
        passphrase: passphrase.clone(),
        key: key.clone(),
    });
    Ok(key)
}

async fn read(file: &Path) -> Result<String> {
    tokio::fs::read_to_string(file)
        .await
        .map_err(Error::io(file))
}

fn unusable(file: &Path, detail: String) -> Error {
    Error::KeyFile {
        path: file.to_owned(),
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_opened_by_its_own_passphrase_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-a", "4", "-N", "open sesame", "-f"])
            .arg(&file)
            .status();
        assert!(made.unwrap().success());
        assert!(is_sealed(&file).await.unwrap());
        let refused = plain(&file).await.unwrap_err();
        assert!(matches!(refused, Error::KeySealed { .. }), "{refused}");
        let wrong = Passphrase::new("open".into());
        let refused = open(&file, &wrong).await.unwrap_err();
        assert!(
            refused.to_string().contains("not its passphrase"),
            "{refused}"
        );
        let right = Passphrase::new("open sesame".into());
        let key = open(&file, &right).await.unwrap();
        let again = open(&file, &right).await.unwrap();
        assert!(Arc::ptr_eq(&key, &again));
        assert_eq!(format!("{right:?}"), "***");
    }
}
