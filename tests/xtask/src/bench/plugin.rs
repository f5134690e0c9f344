//! A listing of many machines of one plugin against as many of a driver that berth has in it: the libvirt driver, whose
//! machines are off, on libvirt's own hypervisor for tests.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::cli::{make_machine, make_record};
use super::world::{World, median, printed, shipped_libvirt, timed};
use super::{Figure, at_most, plain};
use crate::setup;

const MACHINES: usize = 200;
const RUNS: usize = 21;

/// libvirt's number for a domain that is off.
const OFF: u32 = 5;

/// Alternates listings of both, so that the computer's moods meet both.
pub fn run() -> Result<Vec<Figure>> {
    setup::install_for_vms()?;
    let world = World::new()?;
    let plugin = shipped_libvirt()?;
    make_machines(&world)?;
    let plugins = world.file("plugins");
    let count = world.file("started");
    fs::create_dir(&plugins)?;
    let counting = format!(
        "#!/bin/sh\necho >>{}\nexec {} \"$@\"\n",
        count.display(),
        plugin.display()
    );
    let program = plugins.join("berth-driver-libvirt");
    fs::write(&program, counting)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;

    let listed = printed(&mut list(&world, &plugins, "libvirt"))?;
    let off = listed.matches(" stopped ").count();
    if off != MACHINES {
        bail!("{off} of {MACHINES} machines of the plugin are known to be off:\n{listed}");
    }
    let started = fs::read_to_string(&count)?.lines().count();

    fs::remove_file(&program)?;
    std::os::unix::fs::symlink(&plugin, &program)?;
    let (mut of_plugin, mut inside) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        of_plugin.push(timed(&mut list(&world, &plugins, "libvirt"))?);
        inside.push(timed(&mut list(&world, &plugins, "qemu"))?);
    }
    // None of them was ever started: there is nothing to stop, only files to delete.
    fs::remove_dir_all(world.home().join("machines"))?;
    let milliseconds = |times| median(times).as_secs_f64() * 1000.0;
    let (of_plugin, inside) = (milliseconds(of_plugin), milliseconds(inside));
    Ok(vec![
        plain(
            format!("ls of {MACHINES} of a driver in berth"),
            inside,
            "ms",
        ),
        plain(format!("ls of {MACHINES} of a plugin"), of_plugin, "ms"),
        at_most("over the driver in berth", of_plugin - inside, "ms", 50.0),
        at_most("plugins started", started as f64, "", 1.0),
    ])
}

fn list(world: &World, plugins: &Path, driver: &str) -> Command {
    let mut command = world.berth(&["ls", "--driver", driver]);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", plugins.display()));
    command
}

/// Machines of either driver, and the domains of the plugin's.
fn make_machines(world: &World) -> Result<()> {
    let hypervisor = world.file("hypervisor.xml");
    let mut domains = String::new();
    for at in 0..MACHINES {
        make_record(world, at)?;
        let id = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        let (id, name) = (id.trim(), format!("p{at:04}"));
        let vm = make_machine(world, &name, "libvirt", id)?;
        fs::write(
            vm.join("libvirt.toml"),
            format!(
                "uri = \"test://{}\"\npool = \"default\"\nimage = \"sha256:{}\"\naccelerator = \"tcg\"\n\
                 accelerator_reason = \"bench\"\nmachine_type = \"q35\"\ncpu = \"Nehalem\"\nboot = \"direct\"\n\
                 network = \"user\"\nport = {}\n",
                hypervisor.display(),
                "0a".repeat(32),
                43000 + at
            ),
        )?;
        write!(
            domains,
            "<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><name>{name}</name><uuid>{id}</uuid><metadata>\
             <berth:machine xmlns:berth='https://berth.dev/libvirt/1' id='{id}' name='{name}' folder='{}'/></metadata>\
             <memory>2097152</memory><os><type>hvm</type></os><test:runstate>{OFF}</test:runstate></domain>",
            vm.display()
        )?;
    }
    fs::write(&hypervisor, format!("<node>{domains}</node>"))?;
    Ok(())
}
