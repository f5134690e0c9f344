//! A cold create against the bare floor: the same QEMU by hand on the same image, to the same readiness; and the boot
//! against Debian's own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::stock;
use super::world::{World, engine_answers, median, printed, timed, wait_until};
use super::{Figure, at_most, plain};

const ROUNDS: usize = 3;
const BOOT_DEADLINE: Duration = Duration::from_secs(600);

/// Alternates creates, floors and boots, so that the computer's moods meet both.
pub fn run() -> Result<Vec<Figure>> {
    let world = World::new()?;
    // The image is not part of it.
    world.run(&["image", "build", "debian-13-docker"])?;
    stock::build(&world)?;
    let (mut creates, mut floors, mut boots, mut stocks) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        creates.push(timed(
            &mut world.berth(&["create", "cold", "--driver", "qemu", "--memory", "1G"]),
        )?);
        let line = QemuLine::of(&world, "cold")?;
        world.run(&["kill", "cold"])?;
        floors.push(by_hand(&world, &line)?);
        // Nobody asks this one anything while it boots, nor the stock one below.
        let begun = Instant::now();
        let qemu = line.start(&world)?;
        said(&world, "engine")?;
        boots.push(begun.elapsed());
        drop(qemu);
        world.run(&["rm", "--yes", "cold"])?;
        stocks.push(stock::boot(&world, "Nehalem,+aes,+pclmulqdq,+sha-ni")?);
    }
    let seconds = |times| median(times).as_secs_f64();
    let (create, floor, boot) = (seconds(creates), seconds(floors), seconds(boots));
    let mut figures = vec![
        plain("create → engine answers through the context", create, "s"),
        plain("the same QEMU by hand → engine answers", floor, "s"),
        at_most("create against the floor", create / floor, "×", 1.15),
    ];
    let stock = seconds(stocks);
    let stock_as_usual = stock::boot(&world, "max")?.as_secs_f64();
    figures.extend([
        plain("boot: QEMU's start → engine is up", boot, "s"),
        plain("boot with Debian's stock initrd and units", stock, "s"),
        at_most("boot against stock", boot / stock, "×", 0.4),
        plain(
            "stock on -cpu max, as other tools start QEMU",
            stock_as_usual,
            "s",
        ),
        plain("boot against that", boot / stock_as_usual, "×"),
    ]);
    Ok(figures)
}

/// A machine's QEMU command line, with its places changed for a run by hand.
struct QemuLine {
    words: Vec<String>,
    overlay_of: PathBuf,
    port: u16,
}

impl QemuLine {
    fn of(world: &World, name: &str) -> Result<Self> {
        let vm = world.machine(name).join("vm");
        let pid = fs::read_to_string(vm.join("qemu.pid"))?;
        let line = fs::read(format!("/proc/{}/cmdline", pid.trim()))?;
        let words: Vec<String> = line
            .split(|byte| *byte == 0)
            .filter(|word| !word.is_empty())
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let kernel = words.iter().position(|word| word == "-kernel");
        let image = kernel.and_then(|at| Path::new(words.get(at + 1)?).parent());
        let port = words.iter().find_map(|word| {
            word.split("127.0.0.1:")
                .nth(1)?
                .split('-')
                .next()?
                .parse()
                .ok()
        });
        Ok(QemuLine {
            overlay_of: image.context("a direct boot")?.join("disk.qcow2"),
            port: port.context("a forwarded port")?,
            words,
        })
    }

    /// Starts it with an overlay of its own; its sockets, that berth hands over open, become files.
    fn start(&self, world: &World) -> Result<Qemu> {
        let overlay = world.file("floor.qcow2");
        let made = format!(
            "create -q -f qcow2 -F qcow2 -b {} {}",
            self.overlay_of.display(),
            overlay.display()
        );
        printed(Command::new("qemu-img").args(made.split(' ')))?;
        let vm = world.machine("cold").join("vm").display().to_string();
        let mut sockets = 0;
        let words = self.words[1..].iter().map(|word| {
            let mut word = word
                .replace(&format!("{vm}/disk.qcow2"), &overlay.display().to_string())
                .replace(
                    &format!("{vm}/console.log"),
                    &world.file("console").display().to_string(),
                )
                .replace(
                    &format!("{vm}/ready"),
                    &world.file("ready").display().to_string(),
                )
                .replace(
                    &format!("{vm}/qemu.pid"),
                    &world.file("pid").display().to_string(),
                );
            if let Some((before, after)) = word.split_once(",fd=") {
                let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
                sockets += 1;
                let path = world.file(&format!("s{sockets}"));
                word = format!("{before},path={}{rest}", path.display());
            }
            word
        });
        let words: Vec<String> = words.collect();
        let _ = fs::remove_file(world.file("ready"));
        let log = File::create(world.file("floor.log"))?;
        let child = Command::new(&self.words[0])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Qemu(child))
    }
}

/// A process that ends with its scope.
pub struct Qemu(pub Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots by hand, until the engine answers through a forwarded socket.
fn by_hand(world: &World, line: &QemuLine) -> Result<Duration> {
    let begun = Instant::now();
    let _qemu = line.start(world)?;
    said(world, "ssh")?;
    let socket = world.file("engine.sock");
    let _ = fs::remove_file(&socket);
    let folder = world.machine("cold");
    let mut forward = Command::new("ssh");
    forward
        .arg("-F")
        .arg(folder.join("ssh_config"))
        .args(["-o", &format!("Port={}", line.port), "-N", "-L"])
        .arg(format!("{}:/run/docker.sock", socket.display()))
        .arg("cold.berth")
        .stdin(Stdio::null());
    let _ssh = Qemu(forward.spawn()?);
    wait_until("the engine's answer", BOOT_DEADLINE, || {
        engine_answers(&socket)
    })?;
    Ok(begun.elapsed())
}

/// Waits for a line that the guest writes to its readiness port.
pub fn said(world: &World, word: &str) -> Result<()> {
    wait_until(word, BOOT_DEADLINE, || has_said(world, word))
}

fn has_said(world: &World, word: &str) -> bool {
    fs::read_to_string(world.file("ready")).is_ok_and(|text| text.lines().any(|line| line == word))
}
