//! What a user may have meant.

use crate::{Error, Reference};

/// The error for a reference that means nothing, with those of the known `names` that look like it.
pub(super) fn unknown(reference: &Reference, names: impl Iterator<Item = String>) -> Error {
    let mut known: Vec<String> = names.collect();
    known.sort();
    known.dedup();
    let wanted = reference.to_string();
    let mut nearest: Vec<(usize, String)> = known
        .iter()
        .map(|name| (distance(&wanted, name), name.clone()))
        .filter(|(distance, name)| *distance * 2 <= name.len().max(wanted.len()))
        .collect();
    nearest.sort();
    nearest.truncate(3);
    Error::UnknownImage {
        reference: wanted,
        nearest: nearest.into_iter().map(|(_, name)| name).collect(),
        known,
    }
}

/// How many letters must be changed, added or left out to make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, candidate) in other.iter().enumerate() {
            let changed = corner + usize::from(letter != *candidate);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[other.len()]
}
