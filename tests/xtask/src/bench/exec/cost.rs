//! What a command costs this computer.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use super::super::world::{pss, timed};
use super::median;

/// How often memory is looked at while a command runs.
const LOOK: Duration = Duration::from_millis(25);

/// Time by the clock, and of CPUs with all that it started and waited for.
#[derive(Clone, Copy)]
pub struct Cost {
    pub wall: Duration,
    pub cpu: Duration,
}

/// Runs a command that must succeed.
pub fn cpu(command: &mut Command) -> Result<Cost> {
    let before = children()?;
    let wall = timed(command)?;
    let cpu = children()?.saturating_sub(before);
    Ok(Cost { wall, cpu })
}

/// The middle of each.
pub fn middle(costs: Vec<Cost>) -> Cost {
    Cost {
        wall: median(costs.iter().map(|cost| cost.wall).collect()),
        cpu: median(costs.iter().map(|cost| cost.cpu).collect()),
    }
}

fn children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let of = |time: TimeVal| {
        Duration::from_secs(time.tv_sec().unsigned_abs())
            + Duration::from_micros(time.tv_usec().unsigned_abs())
    };
    Ok(of(usage.user_time()) + of(usage.system_time()))
}

/// What a process that runs has used of CPUs so far.
pub fn of_process(pid: u64) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("no such process")?;
    let ticks = rest.split_whitespace().skip(11).take(2);
    let ticks: Result<Vec<u64>, _> = ticks.map(str::parse).collect();
    let ticks: u64 = ticks?.iter().sum();
    // Linux tells it in hundredths of a second (USER_HZ), whatever its clock is.
    Ok(Duration::from_millis(ticks * 10))
}

/// The most memory (PSS, in MB) that a command had at a time, with all that it started.
pub fn peak(command: &mut Command) -> Result<f64> {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut most: f64 = 0.0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        // One that ends meanwhile counts for nothing.
        let now = family(child.id().into())
            .into_iter()
            .filter_map(|pid| pss(pid).ok());
        most = most.max(now.sum());
        std::thread::sleep(LOOK);
    };
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(most)
}

/// A process and its descendants.
fn family(first: u64) -> Vec<u64> {
    let mut children: HashMap<u64, Vec<u64>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![first];
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        let more = children.remove(pid).unwrap_or_default();
        found.extend(more);
        at += 1;
    }
    found
}
