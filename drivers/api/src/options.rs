//! The options that a driver takes by `-o KEY=VALUE`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Info, Result};

/// One driver option.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct OptionSpec {
    /// The KEY of `-o KEY=VALUE`.
    pub name: String,
    /// What values are accepted.
    pub kind: OptionKind,
    /// The value if the user gives none.
    pub default: String,
    /// One line for people.
    pub help: String,
}

impl OptionSpec {
    /// An option that a driver declares.
    pub fn new(name: &str, kind: OptionKind, default: &str, help: &str) -> Self {
        OptionSpec {
            name: name.to_owned(),
            kind,
            default: default.to_owned(),
            help: help.to_owned(),
        }
    }

    /// The environment variable that gives the option its value where `-o` does not: `BERTH_DRIVER_NAME`.
    pub fn variable(&self, driver: &str) -> String {
        format!("BERTH_{driver}_{}", self.name)
            .to_ascii_uppercase()
            .replace('-', "_")
    }
}

/// The values that an option accepts.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OptionKind {
    /// Any text that the driver checks itself.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// One of these words, or `word:argument` for those that end in a colon.
    Choice(Vec<String>),
}

impl OptionKind {
    /// [`OptionKind::Choice`] of `words`.
    pub fn choice(words: &[&str]) -> Self {
        OptionKind::Choice(words.iter().map(|word| (*word).to_owned()).collect())
    }

    fn accepts(&self, value: &str) -> std::result::Result<(), String> {
        match self {
            OptionKind::Text if value.chars().any(char::is_control) => {
                Err("has control characters".into())
            }
            OptionKind::Text => Ok(()),
            OptionKind::Integer if value.parse::<i64>().is_err() => {
                Err("is not a whole number".into())
            }
            OptionKind::Boolean if !matches!(value, "true" | "false") => {
                Err("is neither true nor false".into())
            }
            OptionKind::Integer | OptionKind::Boolean => Ok(()),
            OptionKind::Choice(words) => {
                let known = words.iter().any(|word| match word.strip_suffix(':') {
                    Some(prefix) => value
                        .strip_prefix(prefix)
                        .and_then(|rest| rest.strip_prefix(':'))
                        .is_some_and(|argument| !argument.is_empty()),
                    None => word == value,
                });
                if known {
                    Ok(())
                } else {
                    Err(format!("is not one of {}", words.join(", ")))
                }
            }
        }
    }
}

/// Checks the user's options against what the driver declares.
///
/// # Errors
/// [`Error::UnknownOption`] with the nearest name, [`Error::InvalidOption`] with the reason.
pub fn check_options(info: &Info, options: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in options {
        let Some(spec) = info.options.iter().find(|spec| spec.name == *name) else {
            let known: Vec<&str> = info.options.iter().map(|o| o.name.as_str()).collect();
            return Err(Error::UnknownOption {
                driver: info.name.clone(),
                option: name.clone(),
                nearest: nearest(name, &known).map(str::to_owned),
                known: known.into_iter().map(str::to_owned).collect(),
            });
        };
        spec.kind
            .accepts(value)
            .map_err(|reason| Error::InvalidOption {
                option: name.clone(),
                value: value.clone(),
                reason,
            })?;
    }
    Ok(())
}

/// The candidate that shares most letter pairs with `word`, if any does.
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let pairs = |text: &str| -> Vec<String> {
        let letters: Vec<char> = format!("^{text}$").chars().collect();
        letters
            .windows(2)
            .map(|pair| pair.iter().collect())
            .collect()
    };
    let wanted = pairs(word);
    candidates
        .iter()
        .map(|candidate| {
            let shared = pairs(candidate)
                .iter()
                .filter(|p| wanted.contains(p))
                .count();
            (shared, *candidate)
        })
        .filter(|(shared, _)| *shared > 1)
        // Of two that share as much, the one that has less beside it.
        .max_by_key(|(shared, candidate)| (*shared, std::cmp::Reverse(candidate.len())))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Capabilities, Needs};

    fn info() -> Info {
        Info {
            name: "qemu".into(),
            description: String::new(),
            capabilities: Capabilities::default(),
            needs: Needs::default(),
            max_cpus: None,
            options: vec![
                OptionSpec::new("network", OptionKind::choice(&["user", "bridge:"]), "", ""),
                OptionSpec::new("accel", OptionKind::choice(&["auto"]), "", ""),
            ],
        }
    }

    fn check(name: &str, value: &str) -> Result<()> {
        check_options(&info(), &[(name.to_owned(), value.to_owned())].into())
    }

    #[test]
    fn a_mistyped_option_names_the_nearest_one() {
        let error = check("netwrok", "user").err();
        assert!(
            matches!(error, Some(Error::UnknownOption { nearest: Some(n), .. }) if n == "network")
        );
    }

    #[test]
    fn a_choice_with_an_argument_needs_the_argument() {
        assert!(check("network", "user").is_ok());
        assert!(check("network", "bridge:br0").is_ok());
        assert!(check("network", "bridge:").is_err());
        assert!(check("network", "bridge").is_err());
        assert!(check("network", "userx").is_err());
    }
}
