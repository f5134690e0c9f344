//! Folders of this computer in a machine, each way that they come, against the machine's own disk.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::world::{World, printed, wait_until};
use super::{Figure, plain};
use crate::setup::Cache;

const MACHINE: &str = "mounts";

/// What is written and read at a stretch (MB).
const MEGABYTES: u32 = 128;

/// Small files, and the folders that they are in.
const FILES: u32 = 10_000;
const FOLDERS: u32 = 100;

/// This computer's loopback, as QEMU's guests see it.
const HOST: &str = "10.0.2.2";

/// Prints how many milliseconds each of four things takes in the folder `$1`: writing and reading a large file, writing
/// and reading many small ones. Each begins with no cache in the machine.
const MEASURE: &str = r#"
set -eu; cd "$1"
t() { sync; echo 3 >/proc/sys/vm/drop_caches; b=$(date +%s%N); "$@" >/dev/null 2>&1; e=$(date +%s%N); echo $(((e - b) / 1000000)); }
t dd if=/dev/zero of=big bs=1M count=$2 conv=fsync
t dd if=big of=/dev/null bs=1M
t sh -c 'tar -xf /dev/shm/small.tar && sync -f .'
t sh -c 'tar -cf - small | cat >/dev/null'
rm -rf big small
"#;

/// Makes one machine and measures in turn.
pub fn run() -> Result<Vec<Figure>> {
    let world = World::new()?;
    for folder in ["virtiofs", "sshfs", "plain"] {
        fs::create_dir(world.file(folder))?;
    }
    let virtiofs = format!("{}:/srv/virtiofs", world.file("virtiofs").display());
    let mut create = world.berth(&[
        "create", MACHINE, "-d", "qemu", "--memory", "1G", "--mount", &virtiofs,
    ]);
    printed(with_virtiofsd(&mut create))?;
    // One that is added to a machine that runs comes over SSH.
    let ours = format!("{}:/srv/sshfs", world.file("sshfs").display());
    world.run(&["mount", "add", MACHINE, &ours])?;
    let listed = world.run(&["mount", "ls", MACHINE, "--json"])?;
    if !listed.contains("\"virtiofs\"") || !listed.contains("\"sshfs\"") {
        bail!("not both ways are there: {listed}");
    }
    let sshd = Sshd::start(&world)?;
    inside(&world, &sshd.mount_script(&world)?)?;
    let small = format!(
        "mkdir -p /dev/shm/s/small /srv/disk && cd /dev/shm/s/small && i=0 && while [ $i -lt {FILES} ]; do \
         d=$((i % {FOLDERS})); mkdir -p $d; echo \"file $i\" >$d/$i; i=$((i+1)); done; \
         cd .. && tar -cf ../small.tar small && rm -r small"
    );
    inside(&world, &small)?;

    let ways = ["disk", "virtiofs", "sshfs", "plain"];
    let mut measured = Vec::new();
    for way in ways {
        let words = format!(
            "sh -c '{}' sh /srv/{way} {MEGABYTES}",
            MEASURE.replace('\'', r"'\''")
        );
        let times = inside(&world, &words)?;
        let times: Vec<f64> = times.lines().map(str::parse).collect::<Result<_, _>>()?;
        measured.push(times);
    }
    drop(sshd);
    figures(&measured).context("four times of each way")
}

fn figures(measured: &[Vec<f64>]) -> Option<Vec<Figure>> {
    let [disk, virtiofs, ours, stock] = measured else {
        return None;
    };
    let mut figures = Vec::new();
    let megabytes = f64::from(MEGABYTES);
    let whats = [
        (0, "write at a stretch", "MB/s"),
        (1, "read at a stretch", "MB/s"),
        (2, "write 10,000 files", "files/s"),
        (3, "read 10,000 files", "files/s"),
    ];
    for (at, what, unit) in whats {
        let rate = |times: &Vec<f64>| {
            let amount = if at < 2 { megabytes } else { f64::from(FILES) };
            Some(amount * 1000.0 / times.get(at)?.max(1.0))
        };
        let own = rate(disk)?;
        figures.push(plain(format!("{what}: the machine's disk"), own, unit));
        for (name, times) in [
            ("virtiofs", virtiofs),
            ("over SSH", ours),
            ("plain sshfs", stock),
        ] {
            let rate = rate(times)?;
            figures.push(plain(format!("{what}: {name}"), rate, unit));
            figures.push(plain(
                format!("{what}: {name} against the disk"),
                rate / own,
                "×",
            ));
        }
        let against = rate(ours)? / rate(stock)?;
        figures.push(plain(
            format!("{what}: ours against plain sshfs"),
            against,
            "×",
        ));
    }
    Some(figures)
}

fn inside(world: &World, line: &str) -> Result<String> {
    world.run(&["ssh", MACHINE, "--", line])
}

/// The tests' own virtiofsd is found too.
fn with_virtiofsd(command: &mut Command) -> &mut Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let folder = Cache::from_environment().virtiofsd();
    command.env("PATH", format!("{path}:{}", folder.display()))
}

/// An SSH server of this computer's on its loopback, for the sshfs that anybody would type.
struct Sshd {
    child: Child,
    port: u16,
    key: PathBuf,
}

impl Sshd {
    fn start(world: &World) -> Result<Self> {
        let (key, host_key) = (world.file("key"), world.file("host_key"));
        for file in [&key, &host_key] {
            let mut make = Command::new("ssh-keygen");
            make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file);
            printed(&mut make)?;
        }
        fs::create_dir_all("/run/sshd")?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let mut child = Command::new("/usr/sbin/sshd")
            .args([
                "-D",
                "-f",
                "/dev/null",
                "-o",
                "UsePAM=no",
                "-o",
                "StrictModes=no",
                "-o",
                "PidFile=none",
            ])
            .args(["-o", "Subsystem=sftp internal-sftp"])
            .arg(format!("-oListenAddress=127.0.0.1:{port}"))
            .arg(format!("-oHostKey={}", host_key.display()))
            .arg(format!("-oAuthorizedKeysFile={}.pub", key.display()))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let listens = || std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        let listening = wait_until("sshd", Duration::from_secs(10), listens);
        if listening.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        listening?;
        Ok(Sshd { child, port, key })
    }

    fn mount_script(&self, world: &World) -> Result<String> {
        let user = printed(Command::new("id").arg("-un"))?;
        Ok(format!(
            "umask 077; cat >/root/key <<'END'\n{key}END\nmkdir -p /srv/plain && sshfs {user}@{HOST}:{folder} /srv/plain \
             -o port={port},IdentityFile=/root/key,StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null,dcache_timeout=1",
            key = fs::read_to_string(&self.key)?,
            user = user.trim(),
            folder = world.file("plain").display(),
            port = self.port,
        ))
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
