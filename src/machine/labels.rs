//! A machine's labels: the user's own words to pick machines by.

use std::collections::BTreeMap;
use std::str::FromStr;

use berth_driver_api::Progress;

use super::{Berth, Error, Result};

/// The longest name of a label, and the longest value, in bytes.
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 1024;

/// One change to a machine's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelChange {
    /// `key=value`
    Set(String, String),
    /// `key-`
    Remove(String),
}

impl FromStr for LabelChange {
    type Err = Error;

    /// Reads `key=value` or `key-`.
    fn from_str(text: &str) -> Result<Self> {
        if let Some((key, value)) = text.split_once('=') {
            check_label(key, value)?;
            return Ok(LabelChange::Set(key.to_owned(), value.to_owned()));
        }
        match text.strip_suffix('-').filter(|key| !key.is_empty()) {
            Some(key) => Ok(LabelChange::Remove(key.to_owned())),
            None => Err(Error::BadRequest {
                what: "label".into(),
                reason: format!("{text:?} is neither KEY=VALUE nor KEY-"),
            }),
        }
    }
}

/// Checks a label that is to be set.
///
/// # Errors
/// [`Error::BadRequest`] for what could not be told apart or shown.
pub fn check_label(key: &str, value: &str) -> Result<()> {
    let refuse = |reason: String| {
        Err(Error::BadRequest {
            what: "label".into(),
            reason,
        })
    };
    // `-l key!=value` selects.
    if key.is_empty() || key.len() > MAX_KEY || key.ends_with('!') || has_control(key) {
        return refuse(format!("{key:?} is not a label's name"));
    }
    if value.len() > MAX_VALUE || has_control(value) {
        return refuse(format!(
            "the value of {key:?} is too long or not plain text"
        ));
    }
    Ok(())
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// Carries out changes in their order, all or none, and returns the labels that the machine has then and whether they
/// differ from before.
///
/// # Errors
/// [`Error::NoSuchMachine`], [`Error::Busy`], or what writing the record fails with.
pub async fn change_labels(
    berth: &Berth,
    name: &str,
    changes: &[LabelChange],
    progress: &dyn Progress,
) -> Result<(BTreeMap<String, String>, bool)> {
    berth.record(name)?;
    let doing = format!("label {name}");
    let _lock = berth.lock(name, &doing, |who| progress.note(who)).await?;
    let mut record = berth.record(name)?;
    let before = record.labels.clone();
    for change in changes {
        match change {
            LabelChange::Set(key, value) => {
                record.labels.insert(key.clone(), value.clone());
            }
            LabelChange::Remove(key) => {
                record.labels.remove(key);
            }
        }
    }
    let changed = record.labels != before;
    if changed {
        record.write(&berth.home)?;
    }
    Ok((record.labels, changed))
}
