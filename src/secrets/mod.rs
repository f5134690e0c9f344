//! Small secrets, name → bytes: the CA's key, passphrases, credentials.
//!
//! They lie in the system's keyring where one was built in and really works, else in files that only the user reads.
//! A secret stays where it was put: one that has a file is read from it, whatever keyring there is by then.

mod files;
#[cfg_attr(not(feature = "keyring"), path = "no_keyring.rs")]
mod keyring;

use crate::store::{self, Home};
use files::Files;
use keyring::Keyring;

/// A secrets call's outcome.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a secret could not be kept or had. None of them tells the secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A secret's name is a file's name too.
    #[error("{0:?} cannot be a secret's name")]
    BadName(String),
    /// The keyring failed.
    #[error("the keyring: {0}")]
    Keyring(String),
    /// A file operation.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Where new secrets are put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The system's keyring: it kept a secret, gave it back and forgot it when it was tried.
    Keyring,
    /// Files of mode 0600.
    Files {
        /// Why not the keyring.
        why: String,
    },
}

/// The secrets of one berth home.
#[derive(Debug, Clone)]
pub struct Secrets {
    files: Files,
    keyring: Keyring,
}

impl Secrets {
    /// Those of `home`. Nothing is opened yet.
    pub fn of(home: &Home) -> Self {
        Secrets {
            files: Files::new(home.secrets()),
            keyring: Keyring::of(home.data()),
        }
    }

    /// The secret `name`; `None` if there is none.
    ///
    /// # Errors
    /// If it is there but cannot be had. May wait for the keyring's user to unlock it.
    pub fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        check(name)?;
        match self.files.get(name)? {
            None => self.keyring.get(name),
            found => Ok(found),
        }
    }

    /// Keeps a secret under `name`, in place of the one that has it.
    ///
    /// # Errors
    /// If it cannot be kept; the one before is still there then.
    pub fn put(&self, name: &str, secret: &[u8]) -> Result<()> {
        check(name)?;
        match self.place() {
            Place::Files { .. } => self.files.put(name, secret),
            Place::Keyring => {
                self.keyring.put(name, secret)?;
                self.files.remove(name)
            }
        }
    }

    /// Forgets a secret; one that is not there is a success.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<()> {
        check(name)?;
        self.files.remove(name)?;
        self.keyring.remove(name)
    }

    /// Where new secrets are put, found out by trying.
    pub fn place(&self) -> Place {
        match self.keyring.probe() {
            Ok(()) => Place::Keyring,
            Err(error) => Place::Files {
                why: error.to_string(),
            },
        }
    }
}

fn check(name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.is_empty() && name.len() <= 64 && name.bytes().all(plain) {
        Ok(())
    } else {
        Err(Error::BadName(name.chars().take(80).collect()))
    }
}
