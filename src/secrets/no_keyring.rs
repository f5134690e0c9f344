//! What stands for the keyring in a berth that was built without one (cargo feature `keyring`).

use std::path::Path;

use super::{Error, Result};

#[derive(Debug, Clone)]
pub(super) struct Keyring;

impl Keyring {
    pub(super) fn of(_home: &Path) -> Self {
        Keyring
    }

    pub(super) fn get(&self, _name: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    pub(super) fn put(&self, _name: &str, _secret: &[u8]) -> Result<()> {
        self.probe()
    }

    pub(super) fn remove(&self, _name: &str) -> Result<()> {
        Ok(())
    }

    pub(super) fn probe(&self) -> Result<()> {
        Err(Error::Keyring("this berth was built without it".into()))
    }
}
