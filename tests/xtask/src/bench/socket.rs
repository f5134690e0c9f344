//! The engine's socket on this computer against the engine's own, and what the supervisor costs.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::world::{World, get_version, median, printed, pss, timed};
use super::{Figure, at_least, at_most, plain};

const REQUESTS: usize = 60;
const MEGABYTES: usize = 200;

/// By then the supervisor has given back what only clients need.
const QUIET: Duration = Duration::from_secs(35);

/// Asks the engine the same inside the guest: perl is part of every Debian, its clock module is not, so the clock is
/// clock_gettime(CLOCK_MONOTONIC) by number.
const ASK_INSIDE: &str = r#"
use IO::Socket::UNIX;
sub now { my $t = pack("qq", 0, 0); syscall(228, 1, $t); my ($s, $n) = unpack("qq", $t); $s + $n / 1e9 }
my @t;
for (1..60) {
  my $b = now(); my $s = IO::Socket::UNIX->new(Peer => "/run/docker.sock") or die;
  print $s "GET /version HTTP/1.0\r\nHost: engine\r\n\r\n"; 1 while <$s>; push @t, now() - $b;
}
@t = sort { $a <=> $b } @t; printf "%.3f\n", $t[30] * 1000;
"#;

/// Makes one machine and measures its socket.
pub fn run() -> Result<Vec<Figure>> {
    let world = World::new()?;
    world.run(&["create", "socket", "--memory", "1G"])?;
    let mut figures = latency(&world)?;
    figures.extend(throughput(&world)?);
    let status = std::fs::read_to_string(world.machine("socket").join("supervisor.json"))?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    let pid = status["pid"].as_u64().context("the supervisor's pid")?;
    figures.push(plain("supervisor PSS right after that", pss(pid)?, "MB"));
    std::thread::sleep(QUIET);
    figures.push(at_most(
        "supervisor PSS when it is quiet again",
        pss(pid)?,
        "MB",
        8.0,
    ));
    let size = std::fs::metadata(world.program())?.len() as f64 / f64::from(1 << 20);
    figures.push(at_most("dist binary", size, "MB", 20.0));
    Ok(figures)
}

fn latency(world: &World) -> Result<Vec<Figure>> {
    let socket = world.machine("socket").join("docker.sock");
    let mut times = Vec::new();
    for _ in 0..REQUESTS {
        times.push(get_version(&socket)?);
        // As fast as a person's next command, and the same for the guest's own CPU.
        std::thread::sleep(Duration::from_millis(50));
    }
    let outside = median(times).as_secs_f64() * 1000.0;
    let inside: f64 = world
        .run(&["ssh", "socket", "--", "perl", "-e", ASK_INSIDE])?
        .trim()
        .parse()?;
    Ok(vec![
        plain("GET /version inside the guest (median of 60)", inside, "ms"),
        plain(
            "GET /version through the socket (median of 60)",
            outside,
            "ms",
        ),
        at_most("the socket's own share", outside - inside, "ms", 10.0),
    ])
}

fn throughput(world: &World) -> Result<Vec<Figure>> {
    let archive = world.file("image.tar");
    let context = world.file("context");
    std::fs::create_dir_all(&context)?;
    let block = format!(
        "if=/dev/urandom of={}/data bs=1M count={MEGABYTES} status=none",
        context.display()
    );
    printed(Command::new("dd").args(block.split(' ')))?;
    std::fs::write(
        context.join("Dockerfile"),
        "FROM scratch\nCOPY data /data\n",
    )?;
    let docker = |words: &[&str]| {
        let mut command = Command::new("docker");
        command.args(["--context", "socket"]).args(words);
        world.enter(&mut command);
        command
    };
    let path = archive.display().to_string();
    printed(
        docker(&["build", "-q", "-t", "big", &context.display().to_string()])
            .env("DOCKER_BUILDKIT", "0"),
    )?;
    printed(&mut docker(&["save", "-o", &path, "big"]))?;
    printed(&mut docker(&["rmi", "big"]))?;
    let megabytes = std::fs::metadata(&archive)?.len() as f64 / f64::from(1 << 20);
    let rate = |time: Duration| megabytes / time.as_secs_f64();
    let unload = || printed(&mut docker(&["rmi", "big"]));

    // As the first of its kind it also warms the engine up.
    cat(world, &archive, "cat >big.tar")?;
    let load_file = || world.berth(&["ssh", "socket", "--", "docker load -q -i big.tar"]);
    printed(&mut load_file())?;
    unload()?;
    let inside_rate = rate(timed(&mut load_file())?);
    unload()?;
    printed(&mut world.berth(&["ssh", "socket", "--", "rm big.tar"]))?;
    let cat_rate = rate(cat(world, &archive, "cat >/dev/null")?);
    let ssh_rate = rate(cat(world, &archive, "docker load -q")?);
    unload()?;
    let load_rate = rate(timed(&mut docker(&["load", "-q", "-i", &path]))?);
    // What it would be if the one began when the other had ended.
    let in_turn = 1.0 / (1.0 / cat_rate + 1.0 / inside_rate);
    Ok(vec![
        plain("ssh … cat >/dev/null of 200 MB", cat_rate, "MB/s"),
        plain("docker load of a file in the guest", inside_rate, "MB/s"),
        plain("ssh … docker load of 200 MB", ssh_rate, "MB/s"),
        plain(
            "docker load of 200 MB through the socket",
            load_rate,
            "MB/s",
        ),
        at_least("against ssh … cat", load_rate / cat_rate, "×", 0.9),
        plain("against ssh … docker load", load_rate / ssh_rate, "×"),
        plain(
            "against cat, then load in the guest",
            load_rate / in_turn,
            "×",
        ),
    ])
}

fn cat(world: &World, archive: &std::path::Path, command: &str) -> Result<Duration> {
    let begun = Instant::now();
    let mut ssh = world.berth(&["ssh", "socket", "--", command]);
    let status = ssh
        .stdin(File::open(archive)?)
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        bail!("{ssh:?}: {status}");
    }
    Ok(begun.elapsed())
}
