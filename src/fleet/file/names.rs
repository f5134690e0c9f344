//! The names of a group's machines.

use crate::machine::check_name;

use super::error::Wrong;
use super::schema::Group;

/// Where the machine's number goes in a name.
const NUMBER: &str = "{n}";

/// More machines than this in one group are a slip.
const MOST: u32 = 10_000;

/// The names that a group declares, none for one that is only there to be extended, each with its place in the file.
pub(super) fn names(
    group_name: &str,
    group: &Group,
    group_span: std::ops::Range<usize>,
) -> Result<Vec<(String, std::ops::Range<usize>)>, Wrong> {
    let named = match (&group.names, &group.name, &group.count) {
        (Some(names), None, None) => names
            .iter()
            .map(|name| (name.to_string(), name.span()))
            .collect(),
        (Some(_), Some(other), _) => {
            return Err(Wrong::at(
                other.span(),
                "a group has a name or names, not both",
            ));
        }
        (Some(_), None, Some(count)) => {
            return Err(Wrong::at(
                count.span(),
                "names that are listed are not counted",
            ));
        }
        (None, Some(name), None) if name.contains(NUMBER) => {
            return Err(Wrong::at(
                name.span(),
                "{n} needs a count of machines, such as count = 3",
            ));
        }
        (None, Some(name), None) => vec![(name.to_string(), name.span())],
        (None, name, Some(count)) => {
            let pattern = name
                .as_ref()
                .map_or_else(|| format!("{group_name}-{NUMBER}"), |name| name.to_string());
            let span = name.as_ref().map_or(count.span(), |name| name.span());
            if **count > MOST {
                return Err(Wrong::at(
                    count.span(),
                    format!("a group has {MOST} machines at most"),
                ));
            }
            if !pattern.contains(NUMBER) {
                return Err(Wrong::at(
                    span,
                    format!("{pattern:?} has no {NUMBER} where the machine's number goes"),
                ));
            }
            (1..=**count)
                .map(|n| (pattern.replace(NUMBER, &n.to_string()), span.clone()))
                .collect()
        }
        (None, None, None) => Vec::new(),
    };
    for (name, span) in &named {
        let span = if span.is_empty() {
            group_span.clone()
        } else {
            span.clone()
        };
        check_name(name).map_err(|error| Wrong::at(span, error.to_string()))?;
    }
    Ok(named)
}
