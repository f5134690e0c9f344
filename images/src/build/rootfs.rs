//! The root file system's packages, unpacked into a folder.

use std::fs;
use std::path::{Path, PathBuf};

use berth_driver_api::Progress;
use nix::unistd::Uid;
use tokio::process::Command;

use crate::build::Names;
use crate::run::{NAMESPACE, command, run, run_quietly};
use crate::{Error, Recipe, Result};

/// An unpacked root file system. Its owners are recorded in `owners`, unless root unpacked it.
pub(crate) struct Rootfs {
    pub(crate) folder: PathBuf,
    pub(crate) owners: Option<PathBuf>,
}

/// Manuals and translations are left out, then and at later upgrades inside the guest.
const EXCLUDED: &[&str] = &[
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
];

pub(crate) async fn make(
    recipe: &Recipe,
    kernel: &str,
    names: &Names,
    work: &Path,
    progress: &dyn Progress,
) -> Result<Rootfs> {
    progress.phase("Downloading packages");
    let archive = work.join("root.tar");
    let scratch = work.join("scratch");
    fs::create_dir(&scratch).map_err(Error::io(&scratch))?;
    let mirror = recipe.effective_mirror();
    let mut packages = recipe.packages.clone();
    packages.push(kernel.to_owned());

    let mut debstrap = as_root("mmdebstrap")?;
    debstrap
        .env("TMPDIR", &scratch)
        .arg("--mode=root")
        .arg("--variant=minbase")
        .arg(format!("--architectures={}", names.debian))
        .arg(format!("--components={}", recipe.components.join(",")))
        .arg(format!("--include={}", packages.join(",")))
        .arg("--aptopt=Acquire::Languages \"none\"")
        .args(EXCLUDED.iter().map(|option| format!("--dpkgopt={option}")));
    if !recipe.check_valid_until {
        debstrap.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
    }
    let held = recipe
        .hold
        .iter()
        .map(|name| if name == "@kernel" { kernel } else { name });
    for name in held {
        debstrap.arg(format!(
            "--customize-hook=chroot \"$1\" apt-mark hold {name} >/dev/null"
        ));
    }
    debstrap
        .arg(&recipe.suite)
        .arg(&archive)
        .args(sources(recipe, &mirror));

    let outcome = run("mmdebstrap", debstrap, |line| {
        if let Some(phase) = phase_of(line) {
            progress.phase(phase);
        }
        tracing::debug!(target: "berth_images::mmdebstrap", "{line}");
    })
    .await;
    outcome.map_err(|error| explain(error, &mirror, &archive))?;

    progress.phase("Unpacking");
    let folder = work.join("root");
    fs::create_dir(&folder).map_err(Error::io(&folder))?;
    let owners = (!Uid::effective().is_root()).then(|| work.join("owners"));
    let mut tar = match &owners {
        None => command("tar")?,
        Some(owners) => {
            let mut fakeroot = command("fakeroot")?;
            fakeroot.arg("-s").arg(owners).args(["--", "tar"]);
            fakeroot
        }
    };
    tar.arg("-C")
        .arg(&folder)
        .args(["--numeric-owner", "--exclude=./dev/*", "-xpf"])
        .arg(&archive);
    run_quietly("tar", tar)
        .await
        .map_err(|error| explain(error, &mirror, &folder))?;
    fs::remove_file(&archive).map_err(Error::io(&archive))?;
    Ok(Rootfs { folder, owners })
}

/// A command that runs as root, in a user namespace of its own if need be. Root of that namespace is the user, unlike in
/// the one that mmdebstrap makes by itself, so that it may pass through a home folder that is closed to others.
fn as_root(tool: &str) -> Result<Command> {
    if Uid::effective().is_root() {
        return command(tool);
    }
    let mut unshare = command("unshare")?;
    unshare
        .args(NAMESPACE)
        .args(["--mount", "--pid", "--fork", "--kill-child", "--", tool]);
    Ok(unshare)
}

fn sources(recipe: &Recipe, mirror: &str) -> Vec<String> {
    let Recipe { suite, .. } = recipe;
    let components = recipe.components.join(" ");
    let mut lines = vec![
        format!("deb {mirror} {suite} {components}"),
        format!("deb {mirror} {suite}-updates {components}"),
    ];
    if !recipe.security_mirror.is_empty() {
        lines.push(format!(
            "deb {} {suite}-security {components}",
            recipe.security_mirror
        ));
    }
    lines.extend(recipe.sources.iter().cloned());
    lines
}

fn phase_of(line: &str) -> Option<&'static str> {
    if line.starts_with("I: extracting archives") {
        Some("Unpacking the essential packages")
    } else if line.starts_with("I: installing essential packages") {
        Some("Installing the essential packages")
    } else if line.starts_with("I: installing remaining packages") {
        Some("Installing packages")
    } else if line.starts_with("I: creating tarball") {
        Some("Collecting the files")
    } else {
        None
    }
}

/// Finds the cause behind a program's words.
pub(crate) fn explain(error: Error, mirror: &str, path: &Path) -> Error {
    let Error::Tool { detail, .. } = &error else {
        return error;
    };
    let says = |words: &[&str]| words.iter().any(|word| detail.contains(word));
    if says(&["No space left on device", "enough free space"]) {
        return Error::DiskFull {
            path: path.to_owned(),
        };
    }
    if says(&[
        "Could not resolve",
        "Could not connect",
        "Unable to connect",
        "Temporary failure resolving",
        "Failed to fetch",
        "Connection failed",
        "Connection timed out",
        "does not have a Release file",
    ]) {
        return Error::Mirror {
            mirror: mirror.to_owned(),
            detail: detail.clone(),
        };
    }
    error
}

impl Rootfs {
    /// The operating system's own name for itself, or the recipe's.
    pub(crate) fn os(&self, recipe: &Recipe) -> String {
        let point = fs::read_to_string(self.folder.join("etc/debian_version")).unwrap_or_default();
        match point.trim() {
            "" => recipe.os.clone(),
            point if point.starts_with(|c: char| c.is_ascii_digit()) => format!("Debian {point}"),
            _ => recipe.os.clone(),
        }
    }

    /// The version of the package that brings the recipe's engine, without Debian's additions to it.
    pub(crate) fn engine_version(&self, recipe: &Recipe) -> Option<String> {
        let package = recipe.engine.as_ref()?.package.as_deref()?;
        let status = fs::read_to_string(self.folder.join("var/lib/dpkg/status")).ok()?;
        let entry = status.split("\n\n").find(|entry| {
            entry
                .lines()
                .any(|line| line.strip_prefix("Package: ") == Some(package))
        })?;
        let version = entry
            .lines()
            .find_map(|line| line.strip_prefix("Version: "))?;
        let version = version.split_once(':').map_or(version, |(_, rest)| rest);
        Some(
            version
                .split(['-', '+', '~'])
                .next()
                .unwrap_or(version)
                .to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_found_behind_a_programs_words() {
        let cause = |detail: &str| {
            explain(
                Error::tool("mmdebstrap", detail),
                "http://m",
                Path::new("/p"),
            )
        };
        let offline = "W: Failed to fetch http://m/x  Temporary failure resolving 'm'";
        assert!(matches!(cause(offline), Error::Mirror { .. }));
        assert!(matches!(
            cause("tar: No space left on device"),
            Error::DiskFull { .. }
        ));
        assert!(matches!(
            cause("E: Unable to locate package x"),
            Error::Tool { .. }
        ));
    }
}
