//! Secrets in the desktop's keyring (the Secret Service of freedesktop.org).

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use keyring_core::api::CredentialStoreApi;
use keyring_core::{Entry, Error as KeyringError};
use uuid::Uuid;
use zbus_secret_service_keyring_store::Store;

use super::{Error, Result};

/// How long the keyring may take; a locked one asks its user for a password meanwhile.
const DEADLINE: Duration = Duration::from_secs(30);

/// What berth's secrets are filed under.
const SERVICE: &str = "berth";

#[derive(Debug, Clone)]
pub(super) struct Keyring {
    /// Homes do not share secrets.
    home: String,
}

/// False where there is no session that could have a keyring: nothing is asked then.
fn is_there() -> bool {
    std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some_and(|address| !address.is_empty())
}

impl Keyring {
    pub(super) fn of(home: &Path) -> Self {
        Keyring {
            home: home.display().to_string(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        if !is_there() {
            return Ok(None);
        }
        self.entry(name, |entry| match entry.get_secret() {
            Err(KeyringError::NoEntry) => Ok(None),
            other => other.map(Some),
        })
    }

    pub(super) fn put(&self, name: &str, secret: &[u8]) -> Result<()> {
        let secret = secret.to_vec();
        self.entry(name, move |entry| entry.set_secret(&secret))
    }

    pub(super) fn remove(&self, name: &str) -> Result<()> {
        if !is_there() {
            return Ok(());
        }
        self.entry(name, |entry| match entry.delete_credential() {
            Err(KeyringError::NoEntry) => Ok(()),
            other => other,
        })
    }

    /// Has a secret kept, given back and forgotten: a store that opens proves nothing.
    pub(super) fn probe(&self) -> Result<()> {
        if !is_there() {
            return Err(Error::Keyring("there is no desktop session".into()));
        }
        let secret = *Uuid::new_v4().as_bytes();
        let name = format!("probe-{}", Uuid::new_v4().simple());
        self.entry(&name, move |entry| {
            entry.set_secret(&secret)?;
            let back = entry.get_secret();
            entry.delete_credential()?;
            if back? == secret {
                return Ok(());
            }
            let what = "it gave back something else".to_owned();
            Err(KeyringError::PlatformFailure(what.into()))
        })
    }

    /// Works on one entry in a thread of its own: the calls block, and bring a runtime that must not meet ours.
    fn entry<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(Entry) -> keyring_core::Result<T> + Send + 'static,
    ) -> Result<T> {
        let user = format!("{}#{name}", self.home);
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let worked = Store::new()
                .and_then(|store| store.build(SERVICE, &user, None))
                .and_then(work);
            // Nobody listens any more once the deadline passed.
            let _ = sender.send(worked);
        });
        match receiver.recv_timeout(DEADLINE) {
            Ok(worked) => worked.map_err(|error| Error::Keyring(error.to_string())),
            Err(_) => Err(Error::Keyring("it does not answer".into())),
        }
    }
}
