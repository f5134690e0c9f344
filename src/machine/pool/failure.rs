//! Why a pool is not full, and when filling it is worth another try.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::folder;
use crate::machine::Result;
use crate::store::{self, Home};

const FILE: &str = "failure.toml";

/// How long is waited after the first failure and at most, in seconds; after each it is twice as long.
const FIRST_PAUSE: i64 = 5;
const LONGEST_PAUSE: i64 = 3600;

/// The last failure since the pool was full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When it was.
    pub at: Timestamp,
    /// How many there were without a success between them.
    pub tries: u32,
    /// What failed.
    pub error: String,
}

impl Failure {
    /// The failure of a pool that has one. A file that cannot be read is none.
    pub fn read(home: &Home, pool: &str) -> Option<Self> {
        let text = fs::read_to_string(folder(home, pool).join(FILE)).ok()?;
        toml::from_str(&text).ok()
    }

    /// Notes one more failure.
    pub(super) fn note(home: &Home, pool: &str, error: &str) -> Result<Self> {
        let before = Failure::read(home, pool).map_or(0, |failure| failure.tries);
        let failure = Failure {
            at: Timestamp::now(),
            tries: before.saturating_add(1),
            error: error.to_owned(),
        };
        let path = folder(home, pool).join(FILE);
        store::write_toml(&path, &failure)?;
        Ok(failure)
    }

    /// Notes a success.
    pub(super) fn forget(home: &Home, pool: &str) -> Result<()> {
        Ok(store::remove_file(&folder(home, pool).join(FILE))?)
    }

    /// How long is waited before the next try.
    pub(super) fn pause(&self) -> SignedDuration {
        let doubled = FIRST_PAUSE << self.tries.saturating_sub(1).min(20);
        SignedDuration::from_secs(doubled.min(LONGEST_PAUSE))
    }

    /// Whether it is too early for another try. A clock that was set back does not stop it.
    pub(super) fn is_fresh(&self) -> bool {
        let since = Timestamp::now().duration_since(self.at);
        !since.is_negative() && since < self.pause()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_waits_longer_than_the_one_before_up_to_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::of_test(folder.path());
        store::create_private_folder(&home.pools().join("ci")).unwrap();
        let mut pauses = Vec::new();
        for _ in 0..40 {
            let failure = Failure::note(&home, "ci", "no disk").unwrap();
            assert!(failure.is_fresh());
            pauses.push(failure.pause().as_secs());
        }
        assert_eq!(pauses[..4], [5, 10, 20, 40]);
        assert_eq!(pauses[39], 3600);
        assert_eq!(Failure::read(&home, "ci").unwrap().error, "no disk");
        Failure::forget(&home, "ci").unwrap();
        Failure::forget(&home, "ci").unwrap();
        assert_eq!(Failure::read(&home, "ci"), None);
    }
}
