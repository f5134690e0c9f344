//! Programs of a later Debian, unpacked into the tests' cache. Nothing of them is installed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::parts::succeed;
use crate::setup::apt_get;

/// Debian 12 has docker's compose plugin and virtiofsd in no suite, and an older podman.
const SUITE: &str = "trixie";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What goes into a folder of its own.
pub struct Programs {
    packages: &'static [&'static str],
    /// Those that are used as they are.
    programs: &'static [&'static str],
    /// One that needs that suite's C library, and the command that starts it by that.
    wrapped: (&'static str, &'static str),
}

/// The docker client with compose, podman's, and docker's registry: its package, installed, would serve the network.
pub const CLIENTS: Programs = Programs {
    packages: &[
        "docker-cli",
        "docker-compose",
        "docker-registry",
        "podman-remote",
        "libc6",
        "libsqlite3-0",
    ],
    programs: &[
        "usr/bin/docker",
        "usr/bin/docker-registry",
        "usr/libexec/docker/cli-plugins/docker-compose",
    ],
    wrapped: ("usr/bin/podman-remote", "usr/bin/podman"),
};

/// The server of virtiofs.
pub const VIRTIOFSD: Programs = Programs {
    packages: &[
        "virtiofsd",
        "libc6",
        "libcap-ng0",
        "libgcc-s1",
        "libseccomp2",
    ],
    programs: &[],
    wrapped: ("usr/libexec/virtiofsd", "virtiofsd"),
};

impl Programs {
    /// Unpacks them into `folder`, unless they are there.
    ///
    /// # Errors
    /// If they cannot be had, or do not run here.
    pub fn fetch(&self, cache: &Path, folder: &Path) -> Result<()> {
        let (real, command) = self.wrapped;
        let all: Vec<&str> = self.programs.iter().copied().chain([command]).collect();
        if all.iter().all(|program| folder.join(program).exists()) {
            return Ok(());
        }
        let draft = unpack(cache, folder, self.packages)?;
        start_by_own_library(&draft, real, command)?;
        for program in all {
            answers(&draft.join(program))?;
        }
        remove(folder)?;
        Ok(fs::rename(&draft, folder)?)
    }
}

/// Unpacks packages into a draft of `folder`, and says where that is.
fn unpack(cache: &Path, folder: &Path, packages: &[&str]) -> Result<PathBuf> {
    eprintln!(
        "of {SUITE} these go to {}: {}",
        folder.display(),
        packages.join(", ")
    );
    // An apt of its own, so that this computer's sources and lists stay as they are.
    let root = cache.join("apt");
    let draft = folder.with_extension("new");
    for folder in [&root, &draft] {
        remove(folder)?;
    }
    for folder in [
        "etc/apt/apt.conf.d",
        "etc/apt/preferences.d",
        "etc/apt/sources.list.d",
        "etc/apt/trusted.gpg.d",
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
        "var/lib/dpkg",
        "var/log/apt",
        "debs",
    ] {
        fs::create_dir_all(root.join(folder))?;
    }
    let status = root.join("var/lib/dpkg/status");
    fs::write(&status, "")?;
    fs::write(
        root.join("etc/apt/sources.list"),
        format!("deb [signed-by={KEYRING}] http://deb.debian.org/debian {SUITE} main\n"),
    )?;
    let apt = || {
        let mut apt = apt_get();
        apt.arg("-o")
            .arg(format!("Dir={}", root.display()))
            .arg("-o")
            .arg(format!("Dir::State::status={}", status.display()))
            .args(["-o", "APT::Sandbox::User=root"])
            .args(["-o", "Acquire::Languages=none"])
            .current_dir(root.join("debs"));
        apt
    };
    succeed(apt().args(["update", "--quiet"]))?;
    succeed(apt().arg("download").args(packages))?;
    for package in fs::read_dir(root.join("debs"))? {
        succeed(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(package?.path())
                .arg(&draft),
        )?;
    }
    remove(&root)?;
    Ok(draft)
}

/// Makes `command` a script that starts the program `real` by the C library that was unpacked with it.
fn start_by_own_library(draft: &Path, real: &str, command: &str) -> Result<()> {
    let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let mut loaders = fs::read_dir(draft.join(&libraries))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("ld-linux"));
    let loader = loaders.next().context("libc6 has no loader")?;
    // The folder is moved once it is whole.
    let up = "/..".repeat(command.matches('/').count());
    let name = command.rsplit('/').next().unwrap_or(command);
    let text = format!(
        "#!/bin/sh\nd=$(dirname \"$0\"){up}\nexec \"$d/{libraries}/{loader}\" --library-path \"$d/{libraries}\" \
         --argv0 {name} \"$d/{real}\" \"$@\"\n"
    );
    let script = draft.join(command);
    fs::write(&script, text).with_context(|| script.display().to_string())?;
    Ok(fs::set_permissions(
        &script,
        fs::Permissions::from_mode(0o755),
    )?)
}

/// A program that does not run on this computer is noticed here, not in every test.
fn answers(program: &Path) -> Result<()> {
    let output = Command::new(program)
        .arg("--help")
        .stdin(Stdio::null())
        .output()
        .with_context(|| program.display().to_string())?;
    if !output.status.success() {
        bail!(
            "{} does not run here: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| folder.display().to_string())
        }
        _ => Ok(()),
    }
}
