//! Many names in few characters.

use std::collections::BTreeMap;

/// More digits than this are no number but a name.
const MAX_DIGITS: usize = 18;

/// Names in the order of their first, those that differ only in a number at their end as one: `db1,web[01-03,7]`.
pub fn fold(names: &[&str]) -> String {
    let mut order: Vec<(String, usize)> = Vec::new();
    let mut groups: BTreeMap<(String, usize), Vec<u64>> = BTreeMap::new();
    let padded: Vec<String> = names
        .iter()
        .map(|name| split(name))
        .filter(|(_, digits)| digits.len() > 1 && digits.starts_with('0'))
        .map(|(stem, _)| stem.to_owned())
        .collect();
    for name in names {
        let (stem, digits) = split(name);
        let width = match padded.iter().any(|padded| padded == stem) {
            true => digits.len(),
            false => usize::from(!digits.is_empty()),
        };
        let key = (stem.to_owned(), width);
        let numbers = groups.entry(key.clone()).or_insert_with(|| {
            order.push(key);
            Vec::new()
        });
        numbers.extend(digits.parse::<u64>());
    }
    let shown = order.iter().map(|(stem, width)| {
        let mut numbers = groups.remove(&(stem.clone(), *width)).unwrap_or_default();
        numbers.sort_unstable();
        match numbers.as_slice() {
            [] => stem.clone(),
            [only] => format!("{stem}{only:0width$}"),
            many => format!("{stem}[{}]", ranges(many, *width)),
        }
    });
    shown.collect::<Vec<_>>().join(",")
}

/// A name's stem, and the number at its end, which may be empty.
fn split(name: &str) -> (&str, &str) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = name.strip_prefix(stem).unwrap_or_default();
    match digits.len() > MAX_DIGITS {
        true => (name, ""),
        false => (stem, digits),
    }
}

fn ranges(numbers: &[u64], width: usize) -> String {
    let runs = numbers.chunk_by(|a, b| a + 1 == *b);
    let shown = runs.map(|run| match run {
        [first, .., last] => format!("{first:0width$}-{last:0width$}"),
        other => other.iter().map(|only| format!("{only:0width$}")).collect(),
    });
    shown.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold() {
        for (names, folded) in [
            (vec![], ""),
            (vec!["web1"], "web1"),
            (vec!["web1", "web3", "web2", "web10"], "web[1-3,10]"),
            (vec!["web08", "web09", "web10"], "web[08-10]"),
            (vec!["web1", "web01", "web2"], "web[1-2],web01"),
            (vec!["db", "web1", "db1", "web2"], "db,web[1-2],db1"),
            (vec!["a-1-x", "a-2-x"], "a-1-x,a-2-x"),
            (vec!["0", "1", "2"], "[0-2]"),
            (
                vec!["x99999999999999999999", "x99999999999999999998"],
                "x99999999999999999999,x99999999999999999998",
            ),
        ] {
            assert_eq!(fold(&names), folded);
        }
    }
}
