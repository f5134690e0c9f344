//! Whether templates are made without being asked for, and how much room they get: the user's `config.toml`.

use serde::Deserialize;

use super::{Error, Result};
use crate::machine::parse_size;
use crate::store::{self, Home};

/// How much disk templates take together if the user says nothing (bytes).
const SPACE: u64 = 10 << 30;

/// When `create` has a template made that is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// After the machine, in the background, where guests run on the computer's own CPU.
    #[default]
    Auto,
    /// After the machine, in the background, where guests' code is translated too.
    Background,
    /// Only `berth template build` makes one.
    Never,
    /// Before the machine, which is then cloned from it.
    Always,
}

/// What the user wants of templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// When `create` makes one.
    pub when: When,
    /// How many bytes they may take together; those that machines rest on are never removed.
    pub space: u64,
}

/// What of `config.toml` is about templates. The rest is nothing to this.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct File {
    template: When,
    template_space: Option<String>,
}

impl Policy {
    /// Reads the user's settings; without a file, those that hold without one.
    ///
    /// # Errors
    /// [`Error::BadSettings`] if the file cannot be understood.
    pub fn read(home: &Home) -> Result<Self> {
        let path = home.config().join("config.toml");
        let bad = |reason: String| Error::BadSettings {
            path: path.clone(),
            reason,
        };
        let table = match store::read_table(&path) {
            Ok(table) => table.unwrap_or_default(),
            Err(store::Error::Damaged { reason, .. }) => return Err(bad(reason)),
            Err(error) => return Err(error.into()),
        };
        let file = File::deserialize(toml::Value::Table(table))
            .map_err(|error| bad(error.to_string().trim().replace('\n', " ")))?;
        let space = match file.template_space {
            None => SPACE,
            Some(text) => {
                parse_size(&text).map_err(|error| bad(format!("template-space: {error}")))?
            }
        };
        Ok(Policy {
            when: file.template,
            space,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Result<Policy> {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::of_test(folder.path());
        std::fs::create_dir(home.config()).unwrap();
        std::fs::write(home.config().join("config.toml"), text).unwrap();
        Policy::read(&home)
    }

    #[test]
    fn the_file_says_when_they_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let none = Policy::read(&Home::of_test(folder.path())).unwrap();
        assert_eq!((none.when, none.space), (When::Auto, SPACE));
        let said = policy("template = 'always'\ntemplate-space = '3G'\nother = 1\n").unwrap();
        assert_eq!((said.when, said.space), (When::Always, 3 << 30));
    }

    #[test]
    fn what_is_no_setting_is_refused_with_the_files_name() {
        for text in [
            "template = 'sometimes'",
            "template = 1",
            "template-space = 'lots'",
            "template =",
        ] {
            let refused = policy(text).unwrap_err().to_string();
            assert!(refused.contains("config.toml"), "{refused}");
        }
    }
}
