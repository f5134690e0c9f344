//! Makes a User Mode Linux kernel that runs from its own folder, with what its guests need of it.

mod features;
mod initrd;
mod program;

use std::fs;
use std::path::{Path, PathBuf};

use berth_driver_api::Progress;
use nix::unistd::Uid;
use tokio::process::Command;

use crate::build::modules::Kernel;
use crate::build::rootfs::explain;
use crate::build::{Built, Made, Names, packages, require, unsupported, with_system_path};
use crate::run::{command, run_quietly};
use crate::{Error, KERNEL_BUILD_TOOLS, Recipe, Result};

pub(crate) use initrd::SCRIPTS;

/// Where Debian's package has the modules.
const MODULES: &str = "usr/lib/uml/modules";

/// The modules without what only a debugger reads (four fifths of them), as a read-only file system for all machines.
/// $1 the folder, $2 the image, $3 how many files and folders there are
const PACK: &str = r#"
set -e
find "$1" -name '*.ko' -exec strip --strip-debug {} +
blocks=$(du -s -k --apparent-size "$1" | cut -f 1)
mke2fs -q -F -t ext4 -L berth-modules -b 4096 -m 0 -N $(($3 + 64)) \
    -O ^has_journal,^resize_inode,^orphan_file,^metadata_csum_seed -E lazy_itable_init=0,root_owner=0:0 \
    -d "$1" "$2" $((blocks + $3 * 4 + 2048))k
"#;

pub(crate) async fn make(
    recipe: &Recipe,
    arch: &str,
    names: &Names,
    work: &Path,
    out: &Path,
    progress: &dyn Progress,
) -> Result<Built> {
    let package = recipe
        .kernel
        .get(arch)
        .ok_or_else(|| unsupported(recipe, arch))?;
    require(KERNEL_BUILD_TOOLS, &["fakeroot"])?;

    progress.phase("Downloading packages");
    let mut wanted: Vec<&str> = recipe.packages.iter().map(String::as_str).collect();
    wanted.push(package);
    let root = packages::unpacked(recipe, &wanted, names.debian, work).await?;

    progress.phase("Making the kernel");
    program::write(&root, out).await?;
    let config = ask(out, "--showconfig").await?;
    let help = ask(out, "--help").await?;
    let version = ask(out, "--version").await?;
    let info = features::read(version.trim(), &config, &help)?;
    write(&out.join("config"), &config)?;
    write(&out.join("limits"), &lines(&info.limits))?;
    write(&out.join("cmdline"), &features::parameters(&config))?;

    let folder = root.join(MODULES).join(&info.version);
    let kernel = Kernel::read(out.join(program::LINUX), folder.clone())?;
    initrd::write(recipe, &kernel, &info, &root, &out.join("initrd"))?;
    pack(&folder, &out.join("modules.img"))
        .await
        .map_err(|error| explain(error, "", out))?;
    Ok(Built {
        os: format!("{} {}", recipe.os, info.version),
        made: Made::Kernel(info),
    })
}

/// What the kernel says of itself.
async fn ask(folder: &Path, option: &str) -> Result<String> {
    let mut kernel = Command::new(folder.join(program::LINUX));
    kernel
        // Its loader is named relative to here.
        .current_dir(folder)
        .arg(option)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let output = berth_driver_api::process::output(kernel).await?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

async fn pack(folder: &Path, image: &Path) -> Result<()> {
    let mut shell = match Uid::effective().is_root() {
        true => command("sh")?,
        false => {
            // In its eyes, what belongs to the user belongs to root.
            let mut fakeroot = command("fakeroot")?;
            fakeroot.args(["--", "sh"]);
            fakeroot
        }
    };
    shell
        .args(["-c", PACK, "sh"])
        .args([folder, image])
        .arg(count(folder)?.to_string());
    with_system_path(&mut shell);
    run_quietly("mke2fs", shell).await
}

fn count(folder: &Path) -> Result<u64> {
    let mut total = 1;
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        total += match entry.file_type().map_err(Error::io(folder))?.is_dir() {
            true => count(&entry.path())?,
            false => 1,
        };
    }
    Ok(total)
}

fn lines(sentences: &[String]) -> String {
    sentences.iter().map(|line| format!("{line}\n")).collect()
}

fn write(path: &PathBuf, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::io(path))
}
