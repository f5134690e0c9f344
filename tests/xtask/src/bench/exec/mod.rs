//! One command on many hosts, against ssh started by xargs.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::world::{World, median, printed, target_folder, timed};
use super::{Figure, at_most, plain};
use crate::parts::{cargo, succeed};

/// Each an sshd process on loopback.
const HOSTS: usize = 40;
const RUNS: usize = 7;

/// Makes the hosts and runs `true` on all of them in each way, one way after the other in every round.
pub fn run() -> Result<Vec<Figure>> {
    let world = World::new()?;
    succeed(&mut cargo("build --profile dist -p berth-driver-sshd"))?;
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", target_folder().join("dist").display());
    let disk = world.file("tiny.qcow2").display().to_string();
    printed(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", &disk, "8M"]))?;
    let names: Vec<String> = (1..=HOSTS).map(|n| format!("m{n:02}")).collect();
    let mut create = world.berth(&["create", "-d", "sshd", "--engine", "none", "--memory"]);
    create.args(["64M", "--image", &disk]).args(&names);
    let outcome = measure(&world, &path, &names, &mut create);
    // The world's own end knows nothing of where the driver is.
    let mut remove = world.berth(&["rm", "--all", "--force", "--yes"]);
    printed(remove.env("PATH", &path))?;
    outcome
}

fn measure(
    world: &World,
    path: &str,
    names: &[String],
    create: &mut Command,
) -> Result<Vec<Figure>> {
    printed(create.env("PATH", path))?;
    let machines = world.home().join("machines");
    let ssh = |more: &str| {
        let script = format!(
            "printf '%s\\n' {} | xargs -P {HOSTS} -I@ ssh -F {}/@/ssh_config {more} @.berth true",
            names.join(" "),
            machines.display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        command
    };
    let mut exec = world.berth(&["exec", "--all", "--", "true"]);
    exec.env("PATH", path);
    let mut ways = [exec, ssh(""), ssh("-o KexAlgorithms=curve25519-sha256")];
    let mut times: [Vec<Duration>; 3] = Default::default();
    for _ in 0..RUNS {
        for (way, times) in ways.iter_mut().zip(&mut times) {
            times.push(timed(way)?);
        }
    }
    let [berth, default, curve] = times.map(|times| median(times).as_secs_f64());
    Ok(vec![
        plain(
            format!("exec -- true on {HOSTS} hosts (median of {RUNS})"),
            berth,
            "s",
        ),
        plain("a host's share of it", berth * 1000.0 / HOSTS as f64, "ms"),
        plain(format!("xargs -P {HOSTS} ssh"), default, "s"),
        plain("the same with curve25519", curve, "s"),
        at_most("exec against xargs and ssh", berth / default, "×", 1.0),
        at_most(
            "exec against the same with curve25519",
            berth / curve,
            "×",
            1.0,
        ),
    ])
}
