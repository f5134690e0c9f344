//! How carefully a rollout goes, as it is written on the command line.

use std::time::Duration;

use crate::cli::fleet_args::FleetArgs;
use crate::fleet::rollout::{Amount, Pace};

/// The most canaries, and the longest pause, in seconds.
const MAX_CANARY: u64 = 1_000_000;
const MAX_PAUSE: u64 = 7 * 24 * 3600;

/// The options of all rollouts.
#[derive(Debug, Clone, clap::Args)]
pub struct PaceArgs {
    /// So many machines go first, as a batch of their own; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=MAX_CANARY), help_heading = "Rollout")]
    canary: u64,

    /// Machines a batch: a number, or a part of the whole, rounded up
    #[arg(long, value_name = "N|P%", default_value = "25%", value_parser = batch, help_heading = "Rollout")]
    batch: Amount,

    /// Nothing new is begun once more than this have failed: a number, or a part of the whole, rounded up
    #[arg(
        long,
        value_name = "N|P%",
        default_value = "0",
        help_heading = "Rollout"
    )]
    max_failures: Amount,

    /// Between two batches: 30s, 5m, 1h
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = pause, help_heading = "Rollout")]
    pause: Duration,

    /// A command for this computer's shell that has to succeed after each machine's turn, in $BERTH_MACHINE; docker
    /// commands in it talk to that machine
    #[arg(long, value_name = "COMMAND", help_heading = "Rollout")]
    pub gate: Option<String>,

    /// Only look at every machine, and tell what would be done
    #[arg(long, help_heading = "Rollout")]
    pub dry_run: bool,

    /// Do not ask
    #[arg(short = 'y', long, help_heading = "Rollout")]
    pub yes: bool,

    /// Print what was done, or would be, as JSON
    #[arg(long, help_heading = "Rollout")]
    pub json: bool,

    #[command(flatten)]
    pub fleet: FleetArgs,
}

impl PaceArgs {
    /// The pace that was asked for.
    pub fn pace(&self) -> Pace {
        Pace {
            canary: usize::try_from(self.canary).unwrap_or(usize::MAX),
            batch: self.batch,
            max_failures: self.max_failures,
            pause: self.pause,
        }
    }
}

fn batch(text: &str) -> Result<Amount, String> {
    let amount: Amount = text.parse()?;
    match amount.is_zero() {
        true => Err("a batch of no machines would never end".into()),
        false => Ok(amount),
    }
}

/// Reads a time such as `30s`, `5m` or `1h`.
pub fn pause(text: &str) -> Result<Duration, String> {
    let wrong = || "write a time such as 30s, 5m or 1h; a week at most".to_owned();
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let scale = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    let seconds = count.checked_mul(scale).filter(|all| *all <= MAX_PAUSE);
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_read() {
        let seconds = |text| pause(text).map(|pause| pause.as_secs());
        assert_eq!(seconds("30s"), Ok(30));
        assert_eq!(seconds("30"), Ok(30));
        assert_eq!(seconds("5m"), Ok(300));
        assert_eq!(seconds("168h"), Ok(604_800));
        for wrong in [
            "",
            "s",
            "-1s",
            "1d",
            "1.5s",
            "169h",
            "99999999999999999999h",
            "5 m",
        ] {
            assert!(seconds(wrong).is_err(), "{wrong:?}");
        }
    }
}
