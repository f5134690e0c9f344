//! What `-l` asks of a machine's labels.

use std::collections::BTreeMap;
use std::str::FromStr;

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelTest {
    /// `key=value`
    Is(String, String),
    /// `key!=value`: another value, or no such label.
    IsNot(String, String),
    /// `key`, whatever its value.
    Has(String),
}

impl LabelTest {
    /// Whether `labels` fulfil it.
    pub fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            LabelTest::Is(key, value) => labels.get(key) == Some(value),
            LabelTest::IsNot(key, value) => labels.get(key) != Some(value),
            LabelTest::Has(key) => labels.contains_key(key),
        }
    }
}

impl FromStr for LabelTest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let test = match text.split_once('=') {
            Some((key, value)) => match key.strip_suffix('!') {
                Some(key) => LabelTest::IsNot(key.to_owned(), value.to_owned()),
                None => LabelTest::Is(key.to_owned(), value.to_owned()),
            },
            None => LabelTest::Has(text.to_owned()),
        };
        let (LabelTest::Is(key, _) | LabelTest::IsNot(key, _) | LabelTest::Has(key)) = &test;
        match key.is_empty() {
            true => Err("write KEY=VALUE, KEY!=VALUE or KEY".into()),
            false => Ok(test),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_asked_in_three_ways() {
        let labels = BTreeMap::from([("role".to_owned(), "a!=b".to_owned())]);
        for (text, expected) in [
            ("role=a!=b", true),
            ("role=web", false),
            ("role!=web", true),
            ("role!=a!=b", false),
            ("tier!=x", true),
            ("role", true),
            ("tier", false),
            ("role=", false),
        ] {
            let test: LabelTest = text.parse().unwrap();
            assert_eq!(test.holds(&labels), expected, "{text}");
        }
        for bad in ["", "=x", "!=x"] {
            assert!(bad.parse::<LabelTest>().is_err(), "{bad}");
        }
    }
}
