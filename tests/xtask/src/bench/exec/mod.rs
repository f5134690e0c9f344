//! One command on many hosts, against what else there is for it.

mod cost;
mod hosts;
mod peers;

use std::process::Command;

use anyhow::Result;

use self::cost::{Cost, cpu, peak};
use self::hosts::Hosts;
use self::peers::Peers;
use super::world::{World, median};
use super::{Figure, at_least, at_most, plain};

/// How the cost grows. The largest share the sshd processes of the smaller ones.
const SIZES: [usize; 4] = [10, 40, 200, 1000];

/// The sizes at which others are compared with, and how often each way is taken.
const COMPARED: [(usize, usize); 2] = [(40, 3), (200, 1)];

/// The size at which memory is looked at, in a run of its own: looking takes time.
const WEIGHED: usize = 40;

/// How often berth alone is measured at each size.
const RUNS: usize = 3;

/// Makes the hosts, and runs `true` on them in each way, one way after the other in every round.
pub fn run() -> Result<Vec<Figure>> {
    let world = World::new()?;
    let peers = Peers::install();
    let hosts = Hosts::start(&world, SIZES.into_iter().max().unwrap_or(0))?;
    let outcome = measure(&world, &hosts, &peers);
    // Whatever was kept is no machine, so that the world's own end knows nothing of it.
    let ended = world.run(&["exec", "--keep", "0"]);
    let figures = outcome?;
    ended?;
    for missing in &peers.missing {
        eprintln!("{missing}");
    }
    Ok(figures)
}

fn measure(world: &World, hosts: &Hosts, peers: &Peers) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (count, rounds) in COMPARED {
        figures.extend(compared(world, hosts, peers, count, rounds)?);
    }
    let mut a_host = Vec::new();
    for count in SIZES {
        eprintln!("{count} hosts: exec alone");
        let cold = middle(&mut exec(world, hosts, count, &[]), RUNS)?;
        kept(world, hosts, count)?;
        let warm = middle(&mut exec(world, hosts, count, &[]), RUNS)?;
        world.run(&["exec", "--keep", "0"])?;
        let each = |cost: Cost| cost.wall.as_secs_f64() * 1000.0 / count as f64;
        a_host.push(each(cold));
        figures.extend([
            plain(format!("{count} hosts, each, connecting"), each(cold), "ms"),
            plain(format!("{count} hosts, each, kept"), each(warm), "ms"),
            plain(
                format!("{count} hosts: connecting's share"),
                100.0 * (1.0 - each(warm) / each(cold)),
                "%",
            ),
        ]);
    }
    if let [first, .., last] = a_host[..] {
        let what = format!("a host of {} against one of {}", SIZES[3], SIZES[0]);
        figures.push(plain(what, last / first, "×"));
    }
    Ok(figures)
}

/// Every way at one size.
fn compared(
    world: &World,
    hosts: &Hosts,
    peers: &Peers,
    count: usize,
    rounds: usize,
) -> Result<Vec<Figure>> {
    let mut ways = vec![("exec".to_owned(), exec(world, hosts, count, &[]))];
    ways.extend(peers.ways(hosts, count)?);
    let mut costs: Vec<Vec<Cost>> = ways.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for ((what, way), costs) in ways.iter_mut().zip(&mut costs) {
            costs.push(cpu(way)?);
            eprintln!("{count} hosts: {what}: {}", last(costs));
        }
    }
    let mut figures = Vec::new();
    let mut walls = Vec::new();
    for ((what, way), costs) in ways.iter_mut().zip(costs) {
        let cost = cost::middle(costs);
        walls.push((what.clone(), cost.wall));
        figures.extend([
            plain(format!("{count}: {what}"), cost.wall.as_secs_f64(), "s"),
            plain(format!("{count}: {what}, CPU"), cost.cpu.as_secs_f64(), "s"),
        ]);
        if count == WEIGHED {
            let most = peak(way)?;
            figures.push(plain(format!("{count}: {what}, peak memory"), most, "MB"));
            eprintln!("{count} hosts: {what}: {most:.0} MB");
        }
    }
    eprintln!("{count} hosts: connections that are kept");
    let begun = cpu(&mut exec(world, hosts, count, &["--keep", "10m"]))?;
    let keeper = hosts::keeper(world)?;
    let before = cost::of_process(keeper)?;
    let warm = middle(&mut exec(world, hosts, count, &[]), RUNS)?;
    let spent = cost::of_process(keeper)?.saturating_sub(before) / RUNS as u32;
    figures.extend([
        plain(
            format!("{count}: exec --keep, the first"),
            begun.wall.as_secs_f64(),
            "s",
        ),
        plain(format!("{count}: exec, kept"), warm.wall.as_secs_f64(), "s"),
        plain(
            format!("{count}: exec, kept, CPU with the keeper's"),
            (warm.cpu + spent).as_secs_f64(),
            "s",
        ),
        plain(
            format!("{count}: the keeper's memory"),
            super::world::pss(keeper)?,
            "MB",
        ),
    ]);
    world.run(&["exec", "--keep", "0"])?;
    let master = peers.master(hosts, count);
    let (mut fill, mut again, mut end) = master;
    cpu(&mut fill)?;
    let mastered = middle(&mut again, RUNS);
    cpu(&mut end)?;
    let mastered = mastered?.wall.as_secs_f64();
    figures.push(plain(
        format!("{count}: xargs ssh, ControlMaster, kept"),
        mastered,
        "s",
    ));
    if let Some(ansible) = peers.ansible_kept(hosts, count) {
        let mut ansible = ansible?;
        cpu(&mut ansible)?;
        let kept = cpu(&mut ansible)?.wall.as_secs_f64();
        eprintln!("{count} hosts: ansible command, kept: {kept:.2} s");
        figures.push(plain(format!("{count}: ansible command, kept"), kept, "s"));
        let times = kept / warm.wall.as_secs_f64();
        let what = format!("{count}: ansible command against exec, both kept");
        figures.push(at_least(what, times, "×", 10.0));
    }
    let own = walls.remove(0).1.as_secs_f64();
    for (what, wall) in walls {
        let times = wall.as_secs_f64() / own;
        let what = format!("{count}: {what} against exec");
        figures.push(match what.contains("ansible command") {
            true => at_least(what, times, "×", 10.0),
            false => at_least(what, times, "×", 1.0),
        });
    }
    let against = warm.wall.as_secs_f64() / mastered;
    let what = format!("{count}: exec against ControlMaster, both kept");
    figures.push(at_most(what, against, "×", 1.0));
    Ok(figures)
}

/// `berth exec` on the first hosts.
fn exec(world: &World, hosts: &Hosts, count: usize, more: &[&str]) -> Command {
    let mut exec = world.berth(&["exec"]);
    exec.args(&hosts.names[..count])
        .args(more)
        .args(["--", "true"]);
    exec
}

/// Has connections to the first hosts kept.
fn kept(world: &World, hosts: &Hosts, count: usize) -> Result<()> {
    cpu(&mut exec(world, hosts, count, &["--keep", "10m"])).map(drop)
}

/// The time of the last one, to see how far it is.
fn last(costs: &[Cost]) -> String {
    let last = costs.last().map(|cost| cost.wall.as_secs_f64());
    format!("{:.2} s", last.unwrap_or_default())
}

fn middle(way: &mut Command, runs: usize) -> Result<Cost> {
    let costs: Result<Vec<Cost>> = (0..runs).map(|_| cpu(way)).collect();
    Ok(cost::middle(costs?))
}
