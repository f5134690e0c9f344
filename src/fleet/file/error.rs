//! What is wrong with a fleet file, and where.

use std::ops::Range;
use std::path::{Path, PathBuf};

use berth_driver_api::nearest;

/// Why a fleet file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{path}:{line}:{column}: {reason}", path = path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// What is wrong there.
        reason: String,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// It has no such group.
    #[error("{path} has no group {group:?}", path = path.display())]
    NoSuchGroup {
        /// The file.
        path: PathBuf,
        /// What the user wrote.
        group: String,
        /// The groups that it has.
        known: Vec<String>,
    },
}

impl Error {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Io { .. } => None,
            Error::Wrong { hint, .. } => hint.clone(),
            Error::NoSuchGroup { group, known, .. } => Some(meant(group, known)),
        }
    }
}

/// Something wrong at a place in the text.
pub(super) struct Wrong {
    /// Bytes.
    pub(super) span: Range<usize>,
    pub(super) reason: String,
    pub(super) hint: Option<String>,
}

impl Wrong {
    pub(super) fn at(span: Range<usize>, reason: impl Into<String>) -> Self {
        Wrong {
            span,
            reason: reason.into(),
            hint: None,
        }
    }

    /// A word that is none of `known`.
    pub(super) fn unknown(span: Range<usize>, what: &str, word: &str, known: &[String]) -> Self {
        Wrong {
            span,
            reason: format!("there is no {what} {word:?}"),
            hint: Some(meant(word, known)),
        }
    }

    pub(super) fn of_toml(error: &toml::de::Error) -> Self {
        let span = error.span().unwrap_or_default();
        let message = error.message().trim();
        // Serde's own words, of which the first in backticks is what was written and the others what could be.
        let mut words = message.split('`').skip(1).step_by(2).map(str::to_owned);
        match (message.starts_with("unknown field"), words.next()) {
            (true, Some(word)) => Wrong::unknown(span, "key", &word, &words.collect::<Vec<_>>()),
            _ => Wrong::at(span, message.replace('\n', " ")),
        }
    }

    pub(super) fn in_file(self, path: &Path, text: &str) -> Error {
        let before = text.get(..self.span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Error::Wrong {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            reason: self.reason,
            hint: self.hint,
        }
    }
}

fn meant(word: &str, known: &[String]) -> String {
    let words: Vec<&str> = known.iter().map(String::as_str).collect();
    match nearest(word, &words) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None if known.is_empty() => "there are none".into(),
        None => format!("there are: {}", words.join(", ")),
    }
}
