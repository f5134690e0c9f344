//! What the tests with real machines share: a computer of their own to run `berth` on, and proof that nothing is left
//! on it afterwards. `cargo xtask test` sets up what they need and runs them.

#![allow(
    dead_code,
    unused_imports,
    reason = "every test program uses its own part"
)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cloud;
mod counter;
mod engine;
mod left;
mod run;
mod story;
mod terminal;

pub use cloud::cloud_disk;
pub use counter::{begin_counting, still_counts};
pub use engine::{FETCH, build_busybox, compose, http_get, offer_unstable, short_docker_list};
pub use left::assert_nothing_left;
pub use run::{Out, Run};
pub use story::{Story, tell};
pub use terminal::Terminal;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A boot under software emulation, on a computer that is busy.
pub const BOOT: Duration = Duration::from_secs(600);

/// Anything that a running machine is asked.
pub const ANSWER: Duration = Duration::from_secs(180);

/// A home folder, a docker configuration and an image store: all that berth and docker know of this computer.
pub struct Host {
    folder: tempfile::TempDir,
    cache: PathBuf,
    driver: &'static str,
}

impl Host {
    /// A user who never ran berth, and whose machines `driver` makes. Only the image store is shared.
    pub fn with(driver: &'static str) -> Self {
        let host = Host {
            folder: tempfile::Builder::new().prefix("bvm").tempdir().unwrap(),
            cache: cache(),
            driver,
        };
        std::fs::create_dir(host.home()).unwrap();
        let plugins = host.docker_config().join("cli-plugins");
        std::fs::create_dir_all(&plugins).unwrap();
        let compose = "docker/usr/libexec/docker/cli-plugins/docker-compose";
        let from = host.cache.join(compose);
        assert!(
            from.exists(),
            "{} is missing: `cargo xtask test` puts it there",
            from.display()
        );
        std::os::unix::fs::symlink(from, plugins.join("docker-compose")).unwrap();
        host
    }

    /// A folder for the test's own files.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// `$HOME`.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// `$DOCKER_CONFIG`.
    pub fn docker_config(&self) -> PathBuf {
        self.folder.path().join("docker")
    }

    /// Where berth keeps its state in this home.
    pub fn berth_home(&self) -> PathBuf {
        self.home().join(".local/share/berth")
    }

    /// The image store, which all tests share.
    pub fn images(&self) -> PathBuf {
        self.cache.join("images")
    }

    /// A machine's folder.
    pub fn machine(&self, name: &str) -> PathBuf {
        self.berth_home().join("machines").join(name)
    }

    /// What is kept between runs.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// The folder with the docker CLI.
    pub fn docker_folder(&self) -> PathBuf {
        self.cache.join("docker/usr/bin")
    }

    /// `berth ARGUMENTS`, its words split at blanks.
    pub fn berth(&self, arguments: &str) -> Run {
        self.run(env!("CARGO_BIN_EXE_berth"), arguments)
    }

    /// `docker ARGUMENTS`, its words split at blanks: the ordinary client, by its current context.
    pub fn docker(&self, arguments: &str) -> Run {
        self.run("docker", arguments)
    }

    /// A line for this computer's shell.
    pub fn shell(&self, line: &str) -> Run {
        self.run("bash", "-euo pipefail -c").arg(line)
    }

    /// A line for this computer's shell on a terminal of 33 rows and 91 columns; what the terminal shows is stdout.
    pub fn terminal(&self, line: &str) -> Run {
        self.run("script", "-qec")
            .arg(format!("stty rows 33 cols 91; {line}"))
            .arg("/dev/null")
    }

    /// A line for a machine's shell.
    pub fn inside(&self, machine: &str, line: &str) -> Run {
        self.berth("ssh").args([machine, "--", line])
    }

    /// Any program, with what berth and docker know of this computer.
    pub fn run(&self, program: &str, arguments: &str) -> Run {
        let path = std::env::var("PATH").unwrap_or_default();
        Run::new(program)
            .args(arguments.split_whitespace())
            .env("HOME", self.home())
            .env("DOCKER_CONFIG", self.docker_config())
            .env("BERTH_IMAGES", self.cache.join("images"))
            .env("BERTH_DRIVER", self.driver)
            .env("TMPDIR", self.scratch())
            .env("BERTH", env!("CARGO_BIN_EXE_berth"))
            .env("TERM", "xterm")
            .env(
                "PATH",
                format!(
                    "{}:{}:{path}",
                    self.docker_folder().display(),
                    self.cache.join("virtiofsd").display()
                ),
            )
            .folder(self.scratch())
    }

    /// The machine's row of `berth ls --json`.
    pub fn row(&self, name: &str) -> Value {
        let rows: Value =
            serde_json::from_str(&self.berth("ls --json --timeout 20").ok().stdout).unwrap();
        let row = rows
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["name"] == name);
        row.unwrap_or_else(|| panic!("no machine {name} in {rows:#}"))
            .clone()
    }

    /// The machine's state by `berth ls`.
    pub fn state(&self, name: &str) -> String {
        self.row(name)["state"].as_str().unwrap().to_owned()
    }

    /// Asserts that `berth ls` tells at once that a machine has stopped.
    #[track_caller]
    pub fn told_stopped_at_once(&self) {
        let listed = self.berth("ls --json --timeout 20").ok();
        assert!(
            listed.stdout.contains("\"state\": \"stopped\""),
            "{}",
            listed.stdout
        );
        assert!(listed.took < Duration::from_secs(5), "{:?}", listed.took);
    }

    /// What the machine's supervisor says, by `berth status`.
    pub fn supervisor(&self, name: &str) -> Value {
        let out = self
            .berth("status --json --timeout 20")
            .arg(name)
            .ok()
            .stdout;
        let rows: Value = serde_json::from_str(&out).unwrap();
        rows[0]["supervisor"].clone()
    }

    /// The process id of the machine's hypervisor.
    pub fn vm_pid(&self, name: &str) -> i32 {
        self.vm_pid_of(name, self.driver)
    }

    /// As [`Host::vm_pid`], for a machine that `driver` made.
    pub fn vm_pid_of(&self, name: &str, driver: &str) -> i32 {
        let path = self.machine(name).join(format!("vm/{driver}.pid"));
        // It holds a lock on the file as long as it lives.
        let file = std::fs::File::open(path).unwrap();
        let mut lock = nix::libc::flock {
            l_type: nix::libc::F_WRLCK as i16,
            l_whence: nix::libc::SEEK_SET as i16,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_GETLK(&mut lock)).unwrap();
        assert_ne!(lock.l_pid, 0, "nothing runs");
        lock.l_pid
    }

    /// Removes all machines and asserts that nothing is left of them.
    pub fn finish(self) {
        self.berth("rm --yes --all").deadline(ANSWER).ok();
        assert_nothing_left(&self);
    }

    fn tell_logs(&self) {
        let machines = std::fs::read_dir(self.berth_home().join("machines"));
        for machine in machines.into_iter().flatten().flatten() {
            let own = format!("vm/{}.log", self.driver);
            for log in ["journal", "supervisor.log", &own, "vm/console.log"] {
                let path = machine.path().join(log);
                if let Ok(bytes) = std::fs::read(&path) {
                    let text = String::from_utf8_lossy(&bytes);
                    let lines: Vec<&str> = text.lines().collect();
                    println!("--- {}", path.display());
                    println!("{}", lines[lines.len().saturating_sub(25)..].join("\n"));
                }
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell_logs();
        }
        // Only after a failure is there anything to end.
        left::end_processes(self);
    }
}

/// Where images and the docker client are kept between runs.
fn cache() -> PathBuf {
    match std::env::var_os("BERTH_TEST_CACHE") {
        Some(folder) => PathBuf::from(folder),
        None => {
            PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/berth-test")
        }
    }
}

/// An image by its name, or what `BERTH_TEST_IMAGES=NAME=REF,…` has stand for it.
pub fn image(name: &str) -> String {
    let instead = std::env::var("BERTH_TEST_IMAGES").unwrap_or_default();
    let found = instead
        .split(',')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or(name).to_owned()
}

/// Waits until `look` finds something.
#[track_caller]
pub fn eventually<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            begun.elapsed() < deadline,
            "{what}: not within {deadline:?}"
        );
        std::thread::sleep(Duration::from_millis(250));
    }
}
