//! Why templates that nobody asked for were not made.

use std::fs;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Key, names};
use crate::machine::{Error, Result, show_size};
use crate::store::{self, Home};

/// How the file of a failure begins, before the template's name.
const FAILED: &str = ".failed-";

/// Why a template that nobody asked for was not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When that was.
    pub at: Timestamp,
    /// What it would have been of, for people.
    pub of: String,
    /// What failed.
    pub error: String,
}

impl Failure {
    /// The failure of this name, if there was one.
    pub(super) fn read(home: &Home, id: &str) -> Option<Self> {
        let text = fs::read_to_string(home.templates().join(format!("{FAILED}{id}"))).ok()?;
        toml::from_str(&text).ok()
    }

    /// Notes why the template of a key was not made.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn note(home: &Home, key: &Key, image: &str, error: &Error) -> Result<()> {
        let failure = Failure {
            at: Timestamp::now(),
            of: format!(
                "{image} ({}, {} CPUs, {})",
                key.driver,
                key.cpus,
                show_size(key.memory)
            ),
            error: error.to_string(),
        };
        let path = home.templates().join(format!("{FAILED}{}", key.id()));
        store::create_private_folder(&home.templates())?;
        Ok(store::write_toml(&path, &failure)?)
    }

    /// Forgets why the template was not made. What stays is told of once more, and no harm.
    pub(super) fn forget(home: &Home, id: &str) {
        let _ = store::remove_file(&home.templates().join(format!("{FAILED}{id}")));
    }
}

/// The templates that nobody asked for and that were not made, with their names.
///
/// # Errors
/// If their folder cannot be read.
pub fn failures(home: &Home) -> Result<Vec<(String, Failure)>> {
    let names = names(home)?.into_iter();
    let failed = names.filter_map(|name| {
        let id = name.strip_prefix(FAILED)?;
        Some((id.to_owned(), Failure::read(home, id)?))
    });
    Ok(failed.collect())
}

/// Forgets all of them.
pub(super) fn forget_failures(home: &Home) -> Result<()> {
    for (id, _) in failures(home)? {
        Failure::forget(home, &id);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::of_test(folder.path());
        let key = Key {
            driver: "qemu".into(),
            image: "sha256:1".into(),
            cpus: 2,
            memory: 1 << 30,
            disk: 20 << 30,
            host: Default::default(),
        };
        let error = Error::NoSuchTemplate("x".into());
        Failure::note(&home, &key, "debian-13-docker", &error).unwrap();
        let told = failures(&home).unwrap();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].0, key.id());
        assert_eq!(told[0].1.of, "debian-13-docker (qemu, 2 CPUs, 1 GiB)");
        assert_eq!(told[0].1.error, "there is no template x");
        forget_failures(&home).unwrap();
        assert_eq!(failures(&home).unwrap(), []);
    }
}
