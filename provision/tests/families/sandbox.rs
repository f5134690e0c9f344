//! This computer's own system, or one in a folder, with all that is changed in it kept in memory and thrown away: real
//! package managers work on their real paths.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub struct Sandbox {
    folder: tempfile::TempDir,
    system: PathBuf,
}

impl Sandbox {
    /// None, and loudly, where it cannot be had, or one of the programs is not installed.
    pub fn with(programs: &[&str]) -> Option<Self> {
        for program in programs {
            let found = std::env::var("PATH").unwrap_or_default();
            if !found
                .split(':')
                .any(|folder| Path::new(folder).join(program).exists())
            {
                eprintln!("SKIPPED: {program} is not installed; `cargo xtask test` installs it");
                return None;
            }
        }
        Self::over(Path::new("/"))
    }

    /// That of the system in a folder; None, and loudly, where it cannot be had.
    pub fn over(system: &Path) -> Option<Self> {
        let folder = tempfile::Builder::new()
            .prefix("berth-families-")
            .tempdir_in("/dev/shm");
        let sandbox = Sandbox {
            folder: folder.unwrap(),
            system: system.to_owned(),
        };
        for name in ["upper", "work", "root"] {
            fs::create_dir(sandbox.path(name)).unwrap();
        }
        // Debian's rpm looks for its database elsewhere than those who install by it.
        sandbox.write("/root/.rpmmacros", "%_dbpath /var/lib/rpm\n");
        if sandbox.run("true").is_err() {
            eprintln!("SKIPPED: only root may lay one file system over another");
            return None;
        }
        Some(sandbox)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file in it, before a script runs.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path("upper").join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The names of what scripts left in a folder.
    pub fn left(&self, path: &str) -> Vec<String> {
        let path = self.path("upper").join(path.trim_start_matches('/'));
        let entries = fs::read_dir(path).into_iter().flatten();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Runs a script as root; what it printed, or what it said when it failed.
    pub fn run(&self, script: &str) -> Result<String, String> {
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c"])
            .arg(
                "cd \"$1\" && mount -t overlay overlay -o \"lowerdir=$3,upperdir=upper,workdir=work\" root && \
                 mount --rbind /proc root/proc && mount --rbind /dev root/dev && exec chroot root sh -c \"$2\"",
            )
            .arg("sh")
            .arg(self.folder.path())
            .arg(format!("export LC_ALL=C; {script}"))
            .arg(&self.system)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(stdout),
            false => Err(format!(
                "{stdout}{}",
                String::from_utf8_lossy(&output.stderr)
            )),
        }
    }

    /// Runs a script that must succeed.
    #[track_caller]
    pub fn ok(&self, script: &str) -> String {
        self.run(script)
            .unwrap_or_else(|words| panic!("{script}\n{words}"))
    }
}
