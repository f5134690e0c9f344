//! Snapshots of machines: what they are called and what is told of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A name has no more characters than this.
const LONGEST_NAME: usize = 63;

/// A machine as it was at one moment. The field names are those of `berth snapshot ls --json` and stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// Its name; no two of a machine are alike.
    pub name: String,
    /// When it was taken, in seconds since 1970.
    pub taken: i64,
    /// The size in bytes of the memory that was kept with the disk; none of a machine that was off.
    #[serde(default)]
    pub memory: Option<u64>,
}

/// Refuses what cannot be a snapshot's name: names become parts of files' names and of commands.
///
/// # Errors
/// [`Error::InvalidOption`] with the rule.
pub fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let reason = if name.is_empty() || name.len() > LONGEST_NAME {
        "must have 1 to 63 characters"
    } else if !name.chars().all(plain) {
        "may have letters, digits and - _ . only"
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        "must begin with a letter or a digit"
    } else {
        return Ok(());
    };
    Err(Error::InvalidOption {
        option: "snapshot".into(),
        value: name.chars().take(80).collect(),
        reason: reason.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_path_or_an_option() {
        for good in ["before", "2026-11-22", "v1.2_x", "7"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        let long = "x".repeat(64);
        for bad in ["", "-x", "..", ".x", "a/b", "a b", "a,b", "ä", &long] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
