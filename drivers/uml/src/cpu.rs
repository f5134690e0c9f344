//! On which of the computer's CPUs a machine runs.
//!
//! A guest has one CPU, and on the host its kernel and the process that runs on it take turns: each waits while the
//! other works. Left to itself the scheduler spreads them over two CPUs, and each turn waits for the other CPU to wake
//! up. On one CPU, guests' system calls are two to five times quicker. So a machine is bound to one, and moved when it
//! has to wait there while another one is idle.

use std::fs;
use std::time::Duration;

use berth_driver_api::running::Running;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use uuid::Uuid;

/// How often a machine is looked at: seldom enough that watching an idle one costs nothing.
const LOOKS: Duration = Duration::from_secs(5);

/// A machine that waits for its CPU for more than this part of the time may be moved.
const WAITS: f64 = 0.2;

/// A CPU that is idle for at least this part of the time takes it.
const IDLE: f64 = 0.5;

/// How long the CPUs are watched for that.
const WATCHED: Duration = Duration::from_millis(300);

/// The CPUs that this process may use, by number.
fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    (0..CpuSet::count())
        .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
        .collect()
}

/// Binds a kernel that was just started, and all that it will start, to a CPU: machines spread by their ids. Without
/// one the machine runs as well, only slower.
pub(crate) fn bind(pid: i32, id: Uuid) {
    let cpus = allowed();
    let number = id.as_u128() % cpus.len().max(1) as u128;
    if let Some(cpu) = cpus.get(number as usize).filter(|_| cpus.len() > 1) {
        assign(pid, *cpu);
    }
}

fn assign(task: i32, cpu: usize) {
    let mut set = CpuSet::new();
    let bound = set
        .set(cpu)
        .and_then(|()| sched_setaffinity(Pid::from_raw(task), &set));
    if let Err(errno) = bound {
        tracing::debug!("binding {task} to CPU {cpu}: {errno}");
    }
}

/// Moves a machine that waits for its CPU to one that is idle, again and again.
pub(crate) async fn balance(kernel: &Running) {
    let cpus = allowed();
    if cpus.len() < 2 {
        return;
    }
    let mut before = waited(kernel.pid());
    loop {
        tokio::time::sleep(LOOKS).await;
        let now = waited(kernel.pid());
        let share = now.saturating_sub(before) as f64 / LOOKS.as_nanos() as f64;
        before = now;
        if share < WAITS {
            continue;
        }
        if let Some(cpu) = idlest(&cpus).await {
            tracing::debug!("the machine waited for {share:.2} of the time: it moves to CPU {cpu}");
            for task in tasks(kernel.pid()) {
                assign(task, cpu);
            }
        }
    }
}

/// How long a process has waited for a CPU since it began, in nanoseconds (proc(5): /proc/PID/schedstat).
fn waited(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let number = text.split_whitespace().nth(1);
    number.and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// The CPU that is idle most, if one is idle enough.
async fn idlest(cpus: &[usize]) -> Option<usize> {
    let before = idle_ticks();
    tokio::time::sleep(WATCHED).await;
    let after = idle_ticks();
    // USER_HZ is 100 for programs on every Linux on x86.
    let most = WATCHED.as_secs_f64() * 100.0;
    let idle = |cpu: &usize| Some((after.get(*cpu)?.saturating_sub(*before.get(*cpu)?), *cpu));
    let (ticks, cpu) = cpus.iter().filter_map(idle).max()?;
    (ticks as f64 / most >= IDLE).then_some(cpu)
}

/// The time that each CPU was idle, by its number, in ticks (proc(5): /proc/stat).
fn idle_ticks() -> Vec<u64> {
    parse_idle(&fs::read_to_string("/proc/stat").unwrap_or_default())
}

fn parse_idle(stat: &str) -> Vec<u64> {
    let mut ticks = Vec::new();
    for line in stat.lines() {
        let mut words = line.split_whitespace();
        let Some(cpu) = words.next().and_then(|word| word.strip_prefix("cpu")) else {
            break;
        };
        let (Ok(cpu), Some(Ok(idle))) = (cpu.parse::<usize>(), words.nth(3).map(str::parse)) else {
            continue;
        };
        // Numbers have gaps where CPUs are switched off.
        if cpu < CpuSet::count() {
            ticks.resize(ticks.len().max(cpu + 1), 0);
            ticks[cpu] = idle;
        }
    }
    ticks
}

/// All tasks of the processes in the kernel's group: it leads one of its own.
fn tasks(group: i32) -> Vec<i32> {
    let numbers = |folder: &str| -> Vec<i32> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect()
    };
    let belongs = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        rest.split_whitespace().nth(2) == Some(&group.to_string())
    };
    numbers("/proc")
        .into_iter()
        .filter(belongs)
        .flat_map(|pid| numbers(&format!("/proc/{pid}/task")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_read_by_cpu() {
        let stat = "cpu  10 0 20 3000 5 0 0 0 0 0\ncpu0 5 0 10 1000 5 0 0 0 0 0\ncpu3 5 0 10 2000 0 0 0 0 0 0\nintr 1\n";
        assert_eq!(parse_idle(stat), [1000, 0, 0, 2000]);
        assert_eq!(parse_idle("nonsense"), [] as [u64; 0]);
    }

    #[test]
    fn a_process_is_bound_with_what_it_starts() {
        let cpus = allowed();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        bind(child.id() as i32, Uuid::from_u128(1));
        let set = sched_getaffinity(Pid::from_raw(child.id() as i32)).unwrap();
        let bound = cpus.iter().filter(|cpu| set.is_set(**cpu).unwrap()).count();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(bound, 1);
    }
}
