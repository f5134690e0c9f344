//! How long an engine is away while it is upgraded, against the package manager's own work typed by hand.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::world::{World, printed, timed};
use super::{Figure, plain};

/// Alternating, so that the mirror and the computer have the same moods for both.
const ROUNDS: usize = 2;

/// The engine of Debian's unstable suite.
const NEW: &str = "28.5";

/// Has apt offer the unstable suite's packages when they are asked for.
const OFFER: &str = "echo 'deb [check-valid-until=no] http://deb.debian.org/debian sid main' \
     >/etc/apt/sources.list.d/sid.list; \
     printf 'Package: *\nPin: release n=sid\nPin-Priority: 100\n' >/etc/apt/preferences.d/sid";

/// What somebody would type: Debian's packages leave the old engine running. Downloading is no part of what is compared.
const BY_HAND: &str = "export DEBIAN_FRONTEND=noninteractive; apt-get -q update && \
     apt-get -q -y install docker.io/sid docker-cli/sid containerd/sid runc/sid && systemctl restart docker";

/// Asks the engine again and again until told to end, and prints for how many milliseconds it was away: the pauses between
/// two answers, as far as they are longer than any between two that follow at once.
const WATCH: &str = r#"
use IO::Socket::UNIX;
sub now { my $t = pack("qq", 0, 0); syscall(228, 1, $t); my ($s, $n) = unpack("qq", $t); $s * 1000 + $n / 1e6 }
my ($away, $last) = (0, now());
until (-e "/run/bench-over") {
  my $s = IO::Socket::UNIX->new(Peer => "/run/docker.sock");
  my $answer = "";
  if ($s) { print $s "GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n"; local $/; $answer = <$s> // ""; }
  if ($answer =~ /OK$/) { my $n = now(); $away += $n - $last if $n - $last > 500; $last = $n; }
  select undef, undef, undef, 0.05;
}
printf "%.0f\n", $away;
"#;

/// Makes machines in pairs and upgrades one of each.
pub fn run() -> Result<Vec<Figure>> {
    let world = World::new()?;
    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for name in ["ours", "byhand"] {
            world.run(&["create", name, "--driver", "uml", "--memory", "1G"])?;
            world.run(&["ssh", name, "--", OFFER])?;
        }
        let mut upgrade = || -> Result<()> {
            let mut upgrade = world.berth(&["upgrade", "ours", "--to", NEW]);
            ours.push(away(&world, "ours", &mut upgrade)?);
            Ok(())
        };
        let mut install = || -> Result<()> {
            let mut install = world.berth(&["ssh", "byhand", "--", BY_HAND]);
            by_hand.push(away(&world, "byhand", &mut install)?);
            Ok(())
        };
        if round % 2 == 0 {
            upgrade()?;
            install()?;
        } else {
            install()?;
            upgrade()?;
        }
        world.run(&["rm", "--yes", "--all"])?;
    }
    let mean = |times: &[Away]| {
        let sum = |of: fn(&Away) -> f64| times.iter().map(of).sum::<f64>() / times.len() as f64;
        (sum(|away| away.engine), sum(|away| away.whole))
    };
    let ((ours, ours_whole), (by_hand, by_hand_whole)) = (mean(&ours), mean(&by_hand));
    Ok(vec![
        plain("berth upgrade: the engine is away", ours, "s"),
        plain("apt-get install: the engine is away", by_hand, "s"),
        plain("away against that", ours / by_hand, "×"),
        plain("berth upgrade, whole", ours_whole, "s"),
        plain("apt-get update and install, whole", by_hand_whole, "s"),
    ])
}

/// What an upgrade took, in seconds.
struct Away {
    engine: f64,
    whole: f64,
}

fn away(world: &World, machine: &str, change: &mut Command) -> Result<Away> {
    let mut watch = world.berth(&["ssh", machine, "--", "perl", "-e", WATCH]);
    let watch = watch.stdout(Stdio::piped()).spawn()?;
    let watch = Watching(Some(watch));
    let whole = timed(change)?.as_secs_f64();
    printed(&mut world.berth(&["ssh", machine, "--", "touch", "/run/bench-over"]))?;
    Ok(Away {
        engine: watch.milliseconds()? / 1000.0,
        whole,
    })
}

/// The one that asks, which ends with the bench.
struct Watching(Option<Child>);

impl Watching {
    fn milliseconds(mut self) -> Result<f64> {
        let child = self.0.take().context("it watches once")?;
        let output = child.wait_with_output()?;
        let text = String::from_utf8(output.stdout)?;
        text.trim().parse().context("the engine's watcher")
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
