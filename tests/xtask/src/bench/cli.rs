//! Commands that touch no machine, with a thousand machines on disk.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use super::world::{World, median, timed};
use super::{Figure, at_most};

const MACHINES: usize = 1000;
const RUNS: usize = 21;

/// Times each command with records made by hand.
pub fn run() -> Result<Vec<Figure>> {
    let world = World::new()?;
    for at in 0..MACHINES {
        make_record(&world, at)?;
    }
    let name = "m0500";
    let commands: [(&str, Vec<&str>, f64); 6] = [
        ("ls -q", vec!["ls", "-q"], 10.0),
        ("env", vec!["env", name], 10.0),
        ("use", vec!["use", name], 10.0),
        ("inspect", vec!["inspect", name], 10.0),
        ("ip", vec!["ip", name], 10.0),
        ("ls, all asked, none running", vec!["ls"], 100.0),
    ];
    let mut figures = Vec::new();
    for (what, words, bound) in commands {
        let mut times = Vec::new();
        for _ in 0..RUNS {
            times.push(timed(&mut world.berth(&words))?);
        }
        let milliseconds = median(times).as_secs_f64() * 1000.0;
        figures.push(at_most(
            format!("{what} (median of {RUNS})"),
            milliseconds,
            "ms",
            bound,
        ));
    }
    // None of them was ever started: there is nothing to stop, only files to delete.
    fs::remove_dir_all(world.home().join("machines"))?;
    Ok(figures)
}

/// A machine of the QEMU driver's that is off.
pub(super) fn make_record(world: &World, at: usize) -> Result<()> {
    let id = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    let vm = make_machine(world, &format!("m{at:04}"), "qemu", id.trim())?;
    fs::write(vm.join("disk.qcow2"), "")?;
    fs::write(
        vm.join("qemu.toml"),
        format!(
            "accelerator = \"tcg\"\naccelerator_reason = \"bench\"\nmachine_type = \"q35\"\ncpu = \"Nehalem\"\n\
             boot = \"direct\"\nnetwork = \"user\"\nport = {}\n",
            42000 + at
        ),
    )?;
    Ok(())
}

/// Writes berth's own record of a machine, and returns the folder for the driver's.
pub(super) fn make_machine(world: &World, name: &str, driver: &str, id: &str) -> Result<PathBuf> {
    let vm = world.machine(name).join("vm");
    fs::create_dir_all(&vm)?;
    let record = format!(
        "version = 1\nid = \"{id}\"\nname = \"{name}\"\ndriver = \"{driver}\"\ncreated = \"2026-11-22T05:22:38Z\"\n\
         cpus = 2\nmemory = 2147483648\ndisk = 21474836480\n\n[image]\nreference = \"debian-13-docker\"\n\
         digest = \"sha256:{}\"\n\n[engine]\nkind = \"docker\"\nchannel = \"distro\"\n\n[installed]\n\
         kind = \"docker\"\nversion = \"26.1.5\"\nsocket = \"/run/docker.sock\"\nos = \"Debian GNU/Linux 13\"\n\n\
         [labels]\nrole = \"ci\"\n",
        "0a".repeat(32),
    );
    fs::write(world.machine(name).join("machine.toml"), record)?;
    Ok(vm)
}
