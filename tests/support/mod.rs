//! A berth of its own for every test: home, images, docker configuration, ports, and machines that are sshd processes.
//!
//! When a [`World`] is dropped, its machines are removed and the test fails if anything of theirs is left.

#![allow(dead_code, reason = "no test uses all of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

pub mod engine;
pub mod host;
pub mod leftovers;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

pub const BERTH: &str = env!("CARGO_BIN_EXE_berth");

/// The system's programs; the driver's folder comes before them.
const SYSTEM: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Loopback ports of one world.
const PORTS: u32 = 40;

pub struct World {
    folder: tempfile::TempDir,
    first_port: u32,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    world: String,
}

impl World {
    pub fn new() -> World {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Worlds of one process never share ports, those of two test processes hardly ever.
        let slot = std::process::id() * 61 + COUNT.fetch_add(1, Ordering::Relaxed);
        let world = World {
            folder: tempfile::Builder::new()
                .prefix("bw-")
                .tempdir_in("/tmp")
                .unwrap(),
            first_port: 10_000 + slot % 500 * PORTS,
        };
        for folder in ["bin", "home", "docker"] {
            fs::create_dir(world.path(folder)).unwrap();
        }
        symlink(driver(), world.path("bin/berth-driver-sshd")).unwrap();
        fs::copy(disk(), world.path("tiny.qcow2")).unwrap();
        world
    }

    /// A path in the world's folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `$BERTH_HOME`.
    pub fn data(&self) -> PathBuf {
        self.path("b")
    }

    /// A file in a machine's folder.
    pub fn file(&self, machine: &str, name: &str) -> PathBuf {
        self.data().join("machines").join(machine).join(name)
    }

    /// The disk image that machines are made of.
    pub fn image(&self) -> String {
        self.path("tiny.qcow2").display().to_string()
    }

    /// Any program in this world's environment.
    pub fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", format!("{}:{SYSTEM}", self.path("bin").display()))
            .env("HOME", self.path("home"))
            .env("BERTH_HOME", self.data())
            .env("BERTH_IMAGES", self.path("images"))
            .env("DOCKER_CONFIG", self.path("docker"))
            .env(
                "BERTH_PORTS",
                format!("{}-{}", self.first_port, self.first_port + PORTS - 1),
            )
            .env("SHELL", "/bin/bash")
            .env("TZ", "UTC")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// `berth`, ready to be run or changed first.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.program(BERTH);
        command.args(args);
        command
    }

    /// Runs `berth` to its end.
    pub fn berth(&self, args: &[&str]) -> Ran {
        self.finish(&mut self.command(args))
    }

    /// Runs any command to its end.
    pub fn finish(&self, command: &mut Command) -> Ran {
        self.ran(command.output().unwrap())
    }

    /// Runs `berth` with something on its standard input.
    pub fn berth_reading(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input));
            child.wait_with_output().unwrap()
        })
    }

    /// Starts `berth` and does not wait for it; its output is kept.
    pub fn background(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The outcome of a command that was started before.
    pub fn wait(&self, child: Child) -> Ran {
        self.ran(child.wait_with_output().unwrap())
    }

    fn ran(&self, output: Output) -> Ran {
        let status = output.status;
        Ran {
            code: status
                .code()
                .unwrap_or_else(|| -status.signal().unwrap_or(1000)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            world: self.folder.path().display().to_string(),
        }
    }

    /// The arguments that make a machine without an engine; this computer must not be given one.
    pub fn create_args<'a>(&'a self, rest: &[&'a str]) -> Vec<String> {
        let mut args = vec![
            "create", "-d", "sshd", "--engine", "none", "--memory", "64M",
        ];
        args.extend(rest);
        let mut args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        args.extend(["--image".into(), self.image()]);
        args
    }

    /// `berth create` of machines without an engine.
    pub fn create(&self, rest: &[&str]) -> Ran {
        let args = self.create_args(rest);
        self.berth(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The row of `berth ls --json` for a machine; null if there is none.
    pub fn row(&self, name: &str) -> Value {
        let rows: Value = serde_json::from_str(&self.berth(&["ls", "--json"]).ok().stdout).unwrap();
        let rows = rows.as_array().unwrap();
        let found = rows.iter().find(|row| row["name"] == name);
        found.cloned().unwrap_or(Value::Null)
    }

    /// The machine's state by `berth ls --json`.
    pub fn state(&self, name: &str) -> String {
        self.row(name)["state"].as_str().unwrap_or("").to_owned()
    }

    /// What there is in the world's own image store, but for its locks.
    pub fn stored(&self) -> Vec<String> {
        ["images", "images/refs", "images/tmp"]
            .iter()
            .flat_map(|folder| fs::read_dir(self.path(folder)).unwrap())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !["refs", "tmp", "locks", "lock"].contains(&name.as_str()))
            .collect()
    }

    /// The process of a machine.
    pub fn machine_pid(&self, name: &str) -> i32 {
        let text = fs::read_to_string(self.file(name, "vm/pid")).unwrap();
        text.trim().parse().unwrap()
    }

    /// What the machine's supervisor says of itself.
    pub fn supervisor(&self, name: &str) -> Value {
        let ran = self.berth(&["status", "--json", name]).ok();
        serde_json::from_str::<Value>(&ran.stdout).unwrap()[0]["supervisor"].clone()
    }

    /// Everything under the home and the docker configuration, to compare before and after. What sshd logs and who
    /// held a lock last are not berth's state.
    pub fn snapshot(&self) -> Vec<(PathBuf, String)> {
        let mut files = Vec::new();
        for folder in [self.data(), self.path("docker")] {
            collect(&folder, &mut files);
        }
        files.retain(|(path, _)| !path.ends_with("console.log"));
        for (path, content) in &mut files {
            if path
                .parent()
                .is_some_and(|folder| folder.ends_with("locks"))
            {
                content.clear();
            }
        }
        files.sort();
        files
    }

    /// Insists that nothing changed since a snapshot.
    #[track_caller]
    pub fn is_as_it_was(&self, before: &[(PathBuf, String)], what: &str) {
        let after = self.snapshot();
        let gone: Vec<_> = before.iter().filter(|file| !after.contains(file)).collect();
        let new: Vec<_> = after.iter().filter(|file| !before.contains(file)).collect();
        assert!(
            gone.is_empty() && new.is_empty(),
            "{what}: {gone:#?} became {new:#?}"
        );
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let removed = self.berth(&["rm", "-f", "--all"]);
        let left = leftovers::of(self);
        leftovers::end(&left);
        if std::thread::panicking() {
            return;
        }
        assert!(
            removed.code == 0 || removed.stderr.contains("no machine matches"),
            "rm -f --all: {removed:?}"
        );
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

impl Ran {
    /// Insists on success.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.code == 0, "{self:#?}");
        self
    }

    /// Insists on an exit code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert!(self.code == code, "not {code}: {self:#?}");
        self
    }

    /// Insists that standard error has `words` in it.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.stderr.contains(words), "no {words:?} in {self:#?}");
        self
    }

    /// Standard output's lines.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    /// The exit code and what was said on standard error, without what differs from run to run.
    pub fn told(&self) -> String {
        let text = steady(&self.stderr, &self.world);
        format!("exit {}\n{text}", self.code)
    }

    /// Standard output without what differs from run to run.
    pub fn printed(&self) -> String {
        steady(&self.stdout, &self.world)
    }
}

/// Replaces the world's folder, clock times and ports.
fn steady(text: &str, world: &str) -> String {
    let text = text.replace(world, "WORLD");
    let mut out = String::new();
    for line in text.lines() {
        let mut line = line.trim_end().to_owned();
        // `05:28:11 web1: Starting`
        if line.len() > 9 && line.as_bytes()[2] == b':' && line.as_bytes()[5] == b':' {
            line = format!("TIME {}", &line[9..]);
        }
        // `.berth-Ab3Xy9` is a file on its way to its place.
        if let Some(at) = line.find("/.berth-") {
            line.replace_range(at + 8..(at + 14).min(line.len()), "DRAFT");
        }
        out.push_str(&without_ports(&line));
        out.push('\n');
    }
    out
}

/// Ports of worlds are words of five digits.
fn without_ports(line: &str) -> String {
    let is_port = |word: &str| word.len() == 5 && word.bytes().all(|b| b.is_ascii_digit());
    let mut out = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_alphanumeric())
            .unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        out.push_str(if is_port(word) { "PORT" } else { word });
        let next = tail.chars().next().map_or(0, char::len_utf8);
        out.push_str(&tail[..next]);
        rest = &tail[next..];
    }
    out
}

/// Tries until `check` is true.
#[track_caller]
pub fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !check() {
        assert!(Instant::now() < until, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, String)>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            collect(&path, files);
        }
        let content = fs::read(&path).unwrap_or_default();
        files.push((path, String::from_utf8_lossy(&content).into_owned()));
    }
}

/// The plugin driver, built by the cargo that runs this test, for `cargo test` builds only the package's own programs.
fn driver() -> &'static Path {
    static DRIVER: OnceLock<PathBuf> = OnceLock::new();
    DRIVER.get_or_init(|| {
        let folder = Path::new(BERTH).parent().unwrap();
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") => "dev",
            other => other.unwrap(),
        };
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "-p", "berth-driver-sshd"])
            .args(["--profile", profile, "--target-dir"])
            .arg(folder.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "the driver is not built: {words}");
        folder.join("berth-driver-sshd")
    })
}

/// The smallest disk that there is, made once for all tests.
fn disk() -> &'static Path {
    static DISK: OnceLock<PathBuf> = OnceLock::new();
    DISK.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let disk = folder.join("tiny.qcow2");
        if disk.exists() {
            return disk;
        }
        let made = tempfile::NamedTempFile::new_in(folder).unwrap();
        let status = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .arg(made.path())
            .arg("8M")
            .status()
            .unwrap();
        assert!(status.success());
        made.persist(&disk).unwrap();
        disk
    })
}
