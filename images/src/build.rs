//! Makes an image of a recipe: packages → root file system → initrd → disk, or packages → kernel.

mod cpio;
pub(crate) mod direct;
mod disk;
mod initrd;
mod modules;
mod overlay;
mod packages;
mod rootfs;
mod uml;

use std::path::Path;

use async_trait::async_trait;
use berth_driver_api::{DiskFormat, Progress};

use crate::recipe::Family;
use crate::run::{command, run_quietly};
use crate::{Digest, Error, KernelInfo, Recipe, Result};

/// The programs that building needs, by the names that are looked up on PATH.
pub const BUILD_TOOLS: &[&str] = &[
    "mmdebstrap",
    "tar",
    "xz",
    "zstd",
    "mke2fs",
    "sfdisk",
    "mformat",
    "mcopy",
    "qemu-img",
];

/// The programs that building a kernel for the driver `uml` needs; as an ordinary user, `fakeroot` too.
pub const KERNEL_BUILD_TOOLS: &[&str] = &["apt-get", "dpkg-deb", "patchelf", "strip", "mke2fs"];

/// The program that storing any guest image needs, built or downloaded.
pub const STORE_TOOLS: &[&str] = &["qemu-img"];

/// What building needs besides [`BUILD_TOOLS`] when it is not run by root.
pub const ROOTLESS_BUILD_TOOLS: &[&str] = &["fakeroot", "newuidmap", "unshare"];

/// Raised when the builder makes something else of the same recipe.
const BUILDER_VERSION: u32 = 2;

/// Makes images. The store's tests have one of their own.
#[async_trait]
pub trait Builder: Send + Sync {
    /// Makes the image's files in `out` (for a guest `disk.qcow2`, `vmlinux` or `vmlinuz`, and `initrd`), with `work` for everything
    /// else. Both folders are empty and on the store's disk. Dropping the future ends everything that it started.
    async fn build(
        &self,
        recipe: &Recipe,
        arch: &str,
        work: &Path,
        out: &Path,
        progress: &dyn Progress,
    ) -> Result<Built>;

    /// Writes the disk `from` to the file `to`, in the format beside each. Unused parts take no space.
    async fn convert(&self, from: (&Path, DiskFormat), to: (&Path, DiskFormat)) -> Result<()> {
        let mut convert = command("qemu-img")?;
        convert
            .args(["convert", "-f", from.1.name(), "-O", to.1.name()])
            .args([from.0, to.0]);
        run_quietly("qemu-img", convert)
            .await
            .map_err(|error| rootfs::explain(error, "", to.0))
    }
}

/// What the store needs to know of a built image besides its files.
#[derive(Debug, Clone)]
pub struct Built {
    /// The operating system with its point release, as its own `os-release` says, or the kernel with its version.
    pub os: String,
    /// Which kind of image it is.
    pub made: Made,
}

/// The kinds of image, with what is particular to each.
#[derive(Debug, Clone)]
pub enum Made {
    /// A guest's disk.
    Disk {
        /// The disk's size as the guest sees it, in bytes.
        virtual_size: u64,
        /// Kernel parameters for direct boot, without a console.
        cmdline: String,
        /// The engine's version, if the recipe brings one and its package is known.
        engine_version: Option<String>,
    },
    /// A driver's kernel.
    Kernel(KernelInfo),
}

/// Builds guests with `mmdebstrap` and kernels with `apt-get`, as root or, with user namespaces, as anyone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mmdebstrap;

#[async_trait]
impl Builder for Mmdebstrap {
    async fn build(
        &self,
        recipe: &Recipe,
        arch: &str,
        work: &Path,
        out: &Path,
        progress: &dyn Progress,
    ) -> Result<Built> {
        let names = Names::of(arch).ok_or_else(|| unsupported(recipe, arch))?;
        if recipe.family == Family::Uml {
            return uml::make(recipe, arch, &names, work, out, progress).await;
        }
        let kernel_package = recipe
            .kernel
            .get(arch)
            .ok_or_else(|| unsupported(recipe, arch))?;
        require(BUILD_TOOLS, ROOTLESS_BUILD_TOOLS)?;

        let rootfs = rootfs::make(recipe, kernel_package, &names, work, progress).await?;
        progress.phase("Making the initrd");
        let kernel = modules::Kernel::find(&rootfs.folder)?;
        initrd::write(recipe, &kernel, &rootfs.folder, &out.join("initrd")).await?;
        direct::write(&kernel.image, work, out).await?;
        overlay::write(recipe, &work.join("overlay"))?;

        progress.phase("Making the file system");
        let virtual_size = recipe
            .disk
            .as_ref()
            .ok_or_else(|| "it has no [disk]".to_owned())
            .and_then(|disk| disk.bytes())
            .map_err(|detail| Error::recipe(&recipe.name, detail))?;
        let disk = disk::Disk {
            work,
            out,
            names: &names,
            virtual_size,
            cmdline: recipe.cmdline.join(" "),
            title: &recipe.os,
        };
        disk.make(recipe, &rootfs, &kernel, progress).await?;
        Ok(Built {
            os: rootfs.os(recipe),
            made: Made::Disk {
                virtual_size,
                cmdline: recipe.cmdline.join(" "),
                engine_version: rootfs.engine_version(recipe),
            },
        })
    }
}

/// What an architecture is called in different places.
pub(crate) struct Names {
    /// By Debian.
    debian: &'static str,
    /// The boot loader's file on a disk, and its file in `systemd-boot-efi`.
    efi_boot: &'static str,
    efi_loader: &'static str,
    /// The partition type of a root file system.
    root_type: &'static str,
    /// The first serial port, for boots through firmware.
    console: &'static str,
}

impl Names {
    fn of(arch: &str) -> Option<Self> {
        match arch {
            "x86_64" => Some(Names {
                debian: "amd64",
                efi_boot: "BOOTX64.EFI",
                efi_loader: "systemd-bootx64.efi",
                root_type: "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
                console: "console=tty0 console=ttyS0",
            }),
            "aarch64" => Some(Names {
                debian: "arm64",
                efi_boot: "BOOTAA64.EFI",
                efi_loader: "systemd-bootaa64.efi",
                root_type: "B921B045-1DF0-41C3-AF44-4C6F280D3FAE",
                console: "console=tty0 console=ttyAMA0",
            }),
            _ => None,
        }
    }
}

impl Recipe {
    /// Changes whenever an image built of it for `arch` would be another one.
    ///
    /// # Errors
    /// If the recipe cannot be written down.
    pub fn hash(&self, arch: &str) -> Result<Digest> {
        let programs = match self.family {
            Family::Debian => initrd::INIT,
            Family::Uml => uml::SCRIPTS,
        };
        let canonical = serde_json::to_vec(&(BUILDER_VERSION, arch, programs, self))
            .map_err(|error| Error::recipe(&self.name, error))?;
        Ok(Digest::of(&canonical))
    }
}

fn unsupported(recipe: &Recipe, arch: &str) -> Error {
    Error::Arch {
        recipe: recipe.name.clone(),
        arch: arch.to_owned(),
    }
}

/// Refuses to start without the programs `tools` and, for an ordinary user, `rootless`.
fn require(tools: &[&str], rootless: &[&str]) -> Result<()> {
    let rootless = match nix::unistd::Uid::effective().is_root() {
        true => &[],
        false => rootless,
    };
    match tools
        .iter()
        .chain(rootless)
        .find(|tool| berth_driver_api::process::find(tool).is_none())
    {
        Some(tool) => Err(Error::ToolMissing {
            tool: (*tool).to_owned(),
        }),
        None => Ok(()),
    }
}

/// An ordinary user's PATH may lack the folders of mke2fs.
fn with_system_path(command: &mut tokio::process::Command) {
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
}
