//! User Mode Linux against software emulation and against the host itself, on one image, in one run.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::world::{World, median, printed, timed, wait_until};
use super::{Figure, at_most, plain};

const WORKLOAD: &str = include_str!("workload.pl");
const ROUNDS: usize = 3;
const BOOT_DEADLINE: Duration = Duration::from_secs(600);
const PORT: u16 = 17_899;

/// Makes machines of both drivers in turn and lets each do the same.
pub fn run() -> Result<Vec<Figure>> {
    let world = World::new()?;
    // Neither image is part of it.
    world.run(&["image", "build", "debian-13-docker", "uml-kernel"])?;
    let (uml, uml_boot) = create(&world, "uml", ROUNDS)?;
    let (qemu, qemu_boot) = create(&world, "qemu", 1)?;
    let mut figures = vec![
        plain("uml: create → engine answers", uml, "s"),
        plain("qemu under emulation: the same", qemu, "s"),
        at_most("uml against qemu", uml / qemu, "×", 1.0 / 6.0),
        at_most("uml: VM's start → engine is up", uml_boot, "s", 5.0),
        plain("qemu under emulation: the same", qemu_boot, "s"),
    ];
    let compiler = compiler(&world)?;
    let host = printed(
        Command::new("perl")
            .args(["-e", WORKLOAD])
            .args([&world.file("workload"), &compiler]),
    )?;
    let host = read(&host)?;
    let machines = [
        ("uml", work(&world, "uml", &compiler)?),
        ("qemu", work(&world, "qemu", &compiler)?),
    ];
    for (what, (value, unit)) in &host {
        figures.push(plain(format!("host: {what}"), *value, unit));
        for (driver, done) in &machines {
            let (value, _) = done.get(what).context("the same workload")?;
            figures.push(plain(format!("{driver}: {what}"), *value, unit));
        }
    }
    for (driver, _) in &machines {
        figures.extend(containers(&world, driver)?);
    }
    Ok(figures)
}

/// Creates machine `driver` with that driver `rounds` times; the last one stays. Median seconds of the whole create,
/// and from the VM's start to its engine.
fn create(world: &World, driver: &str, rounds: usize) -> Result<(f64, f64)> {
    let (mut creates, mut boots) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round > 0 {
            world.run(&["rm", "--yes", driver])?;
        }
        let begun = Instant::now();
        let mut berth = world
            .berth(&["create", driver, "--driver", driver, "--memory", "1G"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let vm = world.machine(driver).join("vm");
        wait_until("the VM's start", BOOT_DEADLINE, || {
            vm.join(format!("{driver}.pid")).exists()
        })?;
        let started = Instant::now();
        wait_until("the engine", BOOT_DEADLINE, || {
            fs::read_to_string(vm.join("ready")).is_ok_and(|said| said.contains("engine"))
        })?;
        boots.push(started.elapsed());
        if !berth.wait()?.success() {
            bail!("berth create {driver} failed");
        }
        creates.push(begun.elapsed());
    }
    Ok((median(creates).as_secs_f64(), median(boots).as_secs_f64()))
}

/// What the workload printed, by name.
fn read(printed: &str) -> Result<BTreeMap<String, (f64, &'static str)>> {
    let line = |line: &str| {
        let mut words = line.split('\t');
        let (name, value, unit) = (words.next()?, words.next()?, words.next()?);
        let unit = ["MB/s", "rounds/s", "lines/s", "/s"]
            .into_iter()
            .find(|known| *known == unit)?;
        Some((name.to_owned(), (value.parse().ok()?, unit)))
    };
    let all: Option<_> = printed.lines().map(line).collect();
    all.with_context(|| format!("a workload that printed {printed}"))
}

/// A C compiler small enough to be the same on the host and in every machine: Debian's package tcc, unpacked.
fn compiler(world: &World) -> Result<PathBuf> {
    let folder = world.file("compiler");
    fs::create_dir_all(&folder)?;
    let get = "apt-get -q download tcc && dpkg-deb -x tcc_*.deb . && rm tcc_*.deb";
    printed(Command::new("sh").args(["-ec", get]).current_dir(&folder))?;
    Ok(folder)
}

fn work(
    world: &World,
    name: &str,
    compiler: &Path,
) -> Result<BTreeMap<String, (f64, &'static str)>> {
    let from = compiler.display().to_string();
    world.run(&["cp", &from, &format!("{name}:/root/compiler")])?;
    let script = world.file("workload.pl");
    fs::write(&script, WORKLOAD)?;
    let script = script.display().to_string();
    world.run(&["cp", &script, &format!("{name}:/root/workload.pl")])?;
    read(&world.run(&[
        "ssh",
        name,
        "--",
        "perl",
        "/root/workload.pl",
        "/root/workload",
        "/root/compiler",
    ])?)
}

/// A container's whole life, requests to a published port, and bulk over the network.
fn containers(world: &World, name: &str) -> Result<Vec<Figure>> {
    let docker = |words: &[&str]| {
        let mut command = Command::new("docker");
        command.args(["--context", name]).args(words);
        world.enter(&mut command);
        command
    };
    let folder = world.file("busybox");
    fs::create_dir_all(&folder)?;
    fs::copy("/bin/busybox", folder.join("busybox"))?;
    fs::write(
        folder.join("Dockerfile"),
        "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n",
    )?;
    let folder = folder.display().to_string();
    let mut build = docker(&["build", "-q", "-t", "bbox", &folder]);
    printed(build.env("DOCKER_BUILDKIT", "0"))?;
    let mut runs = Vec::new();
    for _ in 0..ROUNDS {
        runs.push(timed(&mut docker(&["run", "--rm", "bbox", "true"]))?);
    }
    let publish = format!("{PORT}:80");
    let serve = "mkdir -p /www; echo hello >/www/index.html; exec httpd -f -p 80 -h /www";
    let web = [
        "run", "-d", "--name", "web", "-p", &publish, "bbox", "sh", "-c", serve,
    ];
    printed(&mut docker(&web))?;
    wait_until("the published port", BOOT_DEADLINE, || get().is_ok())?;
    let begun = Instant::now();
    let mut requests = 0;
    while begun.elapsed() < Duration::from_secs(5) {
        get()?;
        requests += 1;
    }
    let rate = f64::from(requests) / begun.elapsed().as_secs_f64();
    printed(&mut docker(&["rm", "-f", "web"]))?;

    let zeros = "head -c 104857600 /dev/zero";
    let out = timed(&mut world.berth(&["ssh", name, "--", zeros]))?;
    Ok(vec![
        plain(
            format!("{name}: docker run --rm … true"),
            median(runs).as_secs_f64(),
            "s",
        ),
        plain(
            format!("{name}: requests to a published port, one after another"),
            rate,
            "/s",
        ),
        plain(
            format!("{name}: 100 MB out of the guest over SSH"),
            100.0 / out.as_secs_f64(),
            "MB/s",
        ),
    ])
}

fn get() -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", PORT))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: bench\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.ends_with("hello\n") {
        bail!("the published port answered {answer:?}");
    }
    Ok(())
}
