//! How carefully changes are taken across the fleet.

use std::time::Duration;

use super::error::Wrong;
use super::schema::{At, Rollout, Scalar};
use crate::fleet::rollout::{Amount, Pace};

/// The longest rest between batches, in seconds: a week.
const LONGEST: u64 = 7 * 24 * 60 * 60;

/// Where the file says nothing: one machine first, then a quarter at a time, and no failure is passed over.
const BATCH: Amount = Amount::Percent(25);

/// The pace that a file's `[rollout]` sets.
pub(super) fn pace(rollout: &Rollout) -> Result<Pace, Wrong> {
    let amount = |value: &Option<At<Scalar>>, default: Amount| match value {
        Some(value) => value
            .to_string()
            .parse::<Amount>()
            .map_err(|reason| Wrong::at(value.span(), reason)),
        None => Ok(default),
    };
    let batch = amount(&rollout.batch, BATCH)?;
    if let (true, Some(value)) = (batch.is_zero(), &rollout.batch) {
        return Err(Wrong::at(value.span(), "a batch has one machine at least"));
    }
    Ok(Pace {
        canary: rollout.canary.as_ref().map_or(1, |canary| **canary),
        batch,
        max_failures: amount(&rollout.max_failures, Amount::Count(0))?,
        pause: match &rollout.pause {
            Some(value) => duration(value).map_err(|reason| Wrong::at(value.span(), reason))?,
            None => Duration::ZERO,
        },
    })
}

/// `30` and `"30s"` are seconds, `"5m"` minutes, `"1h"` an hour.
fn duration(value: &Scalar) -> Result<Duration, &'static str> {
    let wrong = "write seconds, or such as \"30s\", \"5m\" or \"1h\"";
    let text = value.to_string();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let unit = match text.get(digits.len()..) {
        Some("" | "s") => 1,
        Some("m") => 60,
        Some("h") => 60 * 60,
        _ => return Err(wrong),
    };
    let count = digits.parse::<u64>().map_err(|_| wrong)?;
    let seconds = count
        .checked_mul(unit)
        .filter(|seconds| *seconds <= LONGEST);
    seconds.map(Duration::from_secs).ok_or("longer than a week")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_are_written_in_several_ways() {
        let read = |text: &str| duration(&Scalar::Text(text.into())).map(|rest| rest.as_secs());
        assert_eq!(duration(&Scalar::Integer(7)), Ok(Duration::from_secs(7)));
        assert_eq!(read("30s"), Ok(30));
        assert_eq!(read("5m"), Ok(300));
        assert_eq!(read("1h"), Ok(3600));
        assert_eq!(read("0"), Ok(0));
        for bad in [
            "",
            "s",
            "-1",
            "1d",
            "1.5s",
            "m5",
            "8760h",
            "99999999999999999999h",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(duration(&Scalar::Boolean(true)).is_err());
    }
}
