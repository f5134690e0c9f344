//! What machines cost that do nothing: twenty of them, each with a container that sleeps.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::world::{World, printed, pss};
use super::{Figure, at_most, plain};

const MACHINES: usize = 20;
/// Created at once: more do not come up faster on a few CPUs.
const AT_ONCE: usize = 4;
const WATCHED: Duration = Duration::from_secs(30);

/// Makes them, lets them settle, and watches them.
pub fn run() -> Result<Vec<Figure>> {
    let world = World::new()?;
    world.run(&["image", "build", "debian-13-docker", "uml-kernel"])?;
    let names: Vec<String> = (1..=MACHINES).map(|n| format!("idle{n}")).collect();
    let begun = Instant::now();
    for some in names.chunks(AT_ONCE) {
        let mut words = vec!["create", "--driver", "uml", "--memory", "768M"];
        words.extend(some.iter().map(String::as_str));
        world.run(&words)?;
    }
    let made = begun.elapsed().as_secs_f64();
    for name in &names {
        container(&world, name)?;
    }
    std::thread::sleep(Duration::from_secs(20));
    let processes = processes(&world)?;
    let before = cpu_seconds(&processes);
    std::thread::sleep(WATCHED);
    let busy = (cpu_seconds(&processes) - before) / WATCHED.as_secs_f64() * 100.0;
    let memory: f64 = processes.iter().filter_map(|pid| pss(*pid).ok()).sum();
    Ok(vec![
        plain(
            format!("making {MACHINES} machines, {AT_ONCE} at once"),
            made,
            "s",
        ),
        plain(
            "memory (PSS) a machine, its helpers included",
            memory / MACHINES as f64,
            "MB",
        ),
        plain(format!("CPU of all {MACHINES}"), busy, "% of one"),
        at_most("CPU a machine", busy / MACHINES as f64, "% of one", 1.0),
    ])
}

fn container(world: &World, name: &str) -> Result<()> {
    let folder = world.file("sleeper");
    fs::create_dir_all(&folder)?;
    fs::copy("/bin/busybox", folder.join("busybox"))?;
    fs::write(
        folder.join("Dockerfile"),
        "FROM scratch\nCOPY busybox /busybox\n",
    )?;
    let folder = folder.display().to_string();
    let docker = |words: &[&str]| {
        let mut command = Command::new("docker");
        command.args(["--context", name]).args(words);
        world.enter(&mut command);
        printed(command.env("DOCKER_BUILDKIT", "0"))
    };
    docker(&["build", "-q", "-t", "bbox", &folder])?;
    docker(&["run", "-d", "bbox", "/busybox", "sleep", "100000"])?;
    Ok(())
}

/// Everything that berth started for this world: it has the world's folder in its environment, on its command line or as
/// its working directory.
fn processes(world: &World) -> Result<Vec<u64>> {
    let folder = world.home();
    let needle = folder.as_os_str().as_encoded_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let holds = |file: &str| {
            let bytes = fs::read(entry.path().join(file)).unwrap_or_default();
            bytes.windows(needle.len()).any(|part| part == needle)
        };
        let lies_in =
            fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder));
        if lies_in || holds("cmdline") || holds("environ") {
            found.push(pid);
        }
    }
    Ok(found)
}

/// User and system time of all of them; those of ended children included.
fn cpu_seconds(processes: &[u64]) -> f64 {
    let ticks = |pid: &u64| -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let sum: u64 = fields
            .get(11..15)?
            .iter()
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        Some(sum as f64)
    };
    // USER_HZ is 100 on every architecture that Linux has it on here (proc(5)).
    processes.iter().filter_map(ticks).sum::<f64>() / 100.0
}
