//! A berth of its own for a bench, and the shipped program.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::parts::{cargo, succeed, workspace};
use crate::setup::Cache;

/// Builds the program as it is shipped and tells where it is.
pub fn shipped() -> Result<PathBuf> {
    succeed(&mut cargo("build --profile dist"))?;
    Ok(target_folder().join("dist/berth"))
}

/// Builds the libvirt driver as it is shipped and tells where it is.
pub fn shipped_libvirt() -> Result<PathBuf> {
    succeed(&mut cargo(
        "build --profile dist -p berth-driver-libvirt --features libvirt",
    ))?;
    Ok(target_folder().join("dist/berth-driver-libvirt"))
}

/// Where cargo builds.
pub fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// A home that goes away with its machines.
pub struct World {
    program: PathBuf,
    folder: PathBuf,
}

impl World {
    /// An empty one.
    pub fn new() -> Result<Self> {
        let program = shipped()?;
        let folder = std::env::temp_dir().join(format!("berth-bench-{}", std::process::id()));
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(folder.join("home"))?;
        Ok(World { program, folder })
    }

    /// Berth's home folder.
    pub fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// A scratch file.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A machine's folder.
    pub fn machine(&self, name: &str) -> PathBuf {
        self.home().join("machines").join(name)
    }

    /// The program's file.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A command of berth's in this world.
    pub fn berth(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words);
        self.enter(&mut command);
        command
    }

    /// Puts any command into this world.
    pub fn enter<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        Cache::from_environment()
            .tell(command)
            .env("HOME", &self.folder)
            .env("BERTH_HOME", self.home())
            .env("DOCKER_CONFIG", self.folder.join("docker"))
            .env_remove("DOCKER_HOST")
            .env_remove("DOCKER_CONTEXT")
            .stdin(Stdio::null())
    }

    /// Runs a command of berth's that must succeed, and returns what it printed.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        printed(&mut self.berth(words))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // First, lest its machines be made anew.
        for pool in self.run(&["pool", "ls", "-q"]).unwrap_or_default().lines() {
            let _ = self.berth(&["pool", "rm", pool]).status();
        }
        if let Ok(names) = self.run(&["ls", "-q"])
            && !names.is_empty()
        {
            let _ = self.berth(&["rm", "--all", "--force", "--yes"]).status();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Runs a command that must succeed, and returns what it printed.
pub fn printed(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("{command:?}: {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// How long a command takes that must succeed.
pub fn timed(command: &mut Command) -> Result<Duration> {
    let begun = Instant::now();
    let output = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()?;
    let took = begun.elapsed();
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{command:?}: {}: {words}", output.status);
    }
    Ok(took)
}

/// The middle one.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Waits until `done` says so, and fails after `deadline`.
pub fn wait_until(what: &str, deadline: Duration, mut done: impl FnMut() -> bool) -> Result<()> {
    let until = Instant::now() + deadline;
    while !done() {
        if Instant::now() > until {
            bail!("{what} did not come within {} s", deadline.as_secs());
        }
        // Fine enough against what is measured, and the same for both sides.
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Asks an engine for its version over a unix socket; true if it answers.
pub fn engine_answers(socket: &Path) -> bool {
    get_version(socket).is_ok()
}

/// One `GET /version` on a connection of its own.
pub fn get_version(socket: &Path) -> Result<Duration> {
    use std::io::{Read, Write};
    let begun = Instant::now();
    let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(b"GET /version HTTP/1.0\r\nHost: engine\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.contains("ApiVersion") {
        bail!("no engine answered");
    }
    Ok(begun.elapsed())
}

/// The share of a process in memory (PSS) in MB.
pub fn pss(pid: u64) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find(|line| line.starts_with("Pss:"));
    let kib: f64 = line
        .and_then(|line| line.split_whitespace().nth(1))
        .context("no Pss line")?
        .parse()?;
    Ok(kib / 1024.0)
}
