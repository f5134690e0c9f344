//! Numbers of machines, and the batches that they make.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most machines that a count may name.
const MOST: usize = 1_000_000;

/// So many machines, or such a part of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Amount {
    /// Machines.
    Count(usize),
    /// Of a hundred; 0 to 100.
    Percent(u8),
}

impl Amount {
    /// How many machines of `total` that is. A part is rounded up, so that no part but 0% is none.
    pub fn of(self, total: usize) -> usize {
        match self {
            Amount::Count(count) => count,
            Amount::Percent(percent) => (total * usize::from(percent)).div_ceil(100),
        }
    }

    /// True if it is none, however many machines there are.
    pub fn is_zero(self) -> bool {
        matches!(self, Amount::Count(0) | Amount::Percent(0))
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write a number of machines, or a part of them from 0% to 100%".to_owned();
        let digits = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| text.parse::<usize>().ok()).flatten()
        };
        match text.strip_suffix('%') {
            Some(part) => {
                let percent = digits(part).filter(|percent| *percent <= 100);
                let percent = percent.and_then(|percent| u8::try_from(percent).ok());
                percent.map(Amount::Percent).ok_or_else(wrong)
            }
            None => {
                let count = digits(text).filter(|count| *count <= MOST);
                count.map(Amount::Count).ok_or_else(wrong)
            }
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Count(count) => write!(f, "{count}"),
            Amount::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl TryFrom<String> for Amount {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.to_string()
    }
}

/// The batch of each of `total` machines, in their order, counted from 1: first `canary` machines if any, then `batch` of
/// the whole at a time, one at least.
pub fn batches(total: usize, canary: usize, batch: Amount) -> Vec<usize> {
    let canary = canary.min(total);
    let size = batch.of(total).max(1);
    let first = usize::from(canary > 0);
    (0..total)
        .map(|at| match at.checked_sub(canary) {
            None => 1,
            Some(after) => first + after / size + 1,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many machines each batch has.
    fn sizes(total: usize, canary: usize, batch: &str) -> Vec<usize> {
        let of = batches(total, canary, batch.parse().unwrap());
        assert_eq!(of.len(), total);
        assert!(of.is_sorted());
        let last = of.last().copied().unwrap_or(0);
        (1..=last)
            .map(|batch| of.iter().filter(|of| **of == batch).count())
            .collect()
    }

    #[test]
    fn batches_hold_at_the_edges() {
        assert_eq!(sizes(0, 1, "50%"), [0; 0]);
        assert_eq!(sizes(1, 0, "1%"), [1]);
        assert_eq!(sizes(1, 1, "100%"), [1]);
        assert_eq!(sizes(1, 7, "7"), [1]);
        assert_eq!(sizes(3, 0, "1%"), [1, 1, 1]);
        assert_eq!(sizes(3, 0, "33%"), [1, 1, 1]);
        assert_eq!(sizes(3, 0, "34%"), [2, 1]);
        assert_eq!(sizes(3, 0, "99%"), [3]);
        assert_eq!(sizes(3, 1, "100%"), [1, 2]);
        assert_eq!(sizes(200, 0, "1%"), [2; 100]);
        assert_eq!(sizes(200, 0, "99%"), [198, 2]);
        assert_eq!(sizes(12, 1, "50%"), [1, 6, 5]);
        assert_eq!(sizes(12, 0, "5"), [5, 5, 2]);
        assert_eq!(sizes(12, 20, "5"), [12]);
        assert_eq!(sizes(12, 2, "500"), [2, 10]);
        // Nobody asks for it, and it must not stand still.
        assert_eq!(sizes(3, 0, "0"), [1, 1, 1]);
        assert_eq!(sizes(3, 0, "0%"), [1, 1, 1]);
    }

    #[test]
    fn parts_are_rounded_up() {
        let of = |text: &str, total| text.parse::<Amount>().unwrap().of(total);
        assert_eq!(of("0", 10), 0);
        assert_eq!(of("0%", 10), 0);
        assert_eq!(of("1%", 3), 1);
        assert_eq!(of("1%", 0), 0);
        assert_eq!(of("50%", 3), 2);
        assert_eq!(of("99%", 3), 3);
        assert_eq!(of("100%", 3), 3);
        assert_eq!(of("20", 3), 20);
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "",
            "%",
            "-1",
            "+1",
            "1.5",
            "101%",
            "5 %",
            "x",
            "1000001",
            "99999999999999999999",
        ] {
            assert!(text.parse::<Amount>().is_err(), "{text:?}");
        }
        for text in ["0", "1", "100%", "1000000"] {
            assert_eq!(text.parse::<Amount>().unwrap().to_string(), text);
        }
    }
}
