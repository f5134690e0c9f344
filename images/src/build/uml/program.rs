//! The kernel's program with the loader and the libraries that it was made for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use berth_driver_api::process;

use crate::run::{command, run_quietly};
use crate::{Error, Result};

/// What the program is called in the image.
pub(crate) const LINUX: &str = "linux";
const LOADER: &str = "ld.so";

/// Where Debian's packages have the program and libraries.
const PROGRAM: &str = "usr/bin/linux.uml";
const LIBRARIES: &[&str] = &[
    "usr/lib/x86_64-linux-gnu",
    "lib/x86_64-linux-gnu",
    "usr/lib",
];

/// Copies the program and what it is linked to from `root` to `out`. The kernel of the host resolves the loader's name
/// against the working directory, so that the folder can be moved: the program is run from within it. (It cannot be run
/// as the loader's argument, since it starts itself again.)
pub(crate) async fn write(root: &Path, out: &Path) -> Result<()> {
    let linux = out.join(LINUX);
    copy(&root.join(PROGRAM), &linux, 0o755)?;
    let interpreter = ask(&linux, "--print-interpreter").await?;
    let loader = interpreter.trim().rsplit('/').next().unwrap_or_default();
    copy(&library(root, loader)?, &out.join(LOADER), 0o755)?;

    let mut queue = needed(&linux).await?;
    // The C library opens it by itself when the kernel ends a thread, as it does at a reboot.
    queue.push("libgcc_s.so.1".into());
    while let Some(name) = queue.pop() {
        let place = out.join(&name);
        if name == loader || place.exists() {
            continue;
        }
        copy(&library(root, &name)?, &place, 0o644)?;
        queue.extend(needed(&place).await?);
    }

    let mut patch = command("patchelf")?;
    patch
        .args(["--set-interpreter", "./ld.so"])
        // Unlike its successor RUNPATH, RPATH holds for the libraries' libraries too.
        .args(["--force-rpath", "--set-rpath", "$ORIGIN"])
        .arg(&linux);
    run_quietly("patchelf", patch).await
}

async fn needed(file: &Path) -> Result<Vec<String>> {
    let names = ask(file, "--print-needed").await?;
    Ok(names.lines().map(str::to_owned).collect())
}

async fn ask(file: &Path, question: &str) -> Result<String> {
    let mut patchelf = command("patchelf")?;
    patchelf.arg(question).arg(file);
    let output = process::output(patchelf).await?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

fn library(root: &Path, name: &str) -> Result<PathBuf> {
    let plain = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    LIBRARIES
        .iter()
        .map(|folder| root.join(folder).join(name))
        .find(|path| plain && path.is_file())
        .ok_or_else(|| {
            Error::tool(
                "patchelf",
                format!("the packages did not bring {name:?}, which the kernel needs"),
            )
        })
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    fs::copy(from, to).map_err(Error::io(from))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).map_err(Error::io(to))
}
