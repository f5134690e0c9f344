//! Makes an image of a recipe: packages → root file system → initrd → disk.

mod cpio;
mod disk;
mod initrd;
mod modules;
mod overlay;
mod rootfs;

use std::path::Path;

use async_trait::async_trait;
use berth_driver_api::Progress;

use crate::{Error, Recipe, Result};

/// The programs that building needs, by the names that are looked up on PATH.
pub const BUILD_TOOLS: &[&str] = &[
    "mmdebstrap",
    "tar",
    "xz",
    "mke2fs",
    "sfdisk",
    "mformat",
    "mcopy",
    "qemu-img",
];

/// What building needs besides [`BUILD_TOOLS`] when it is not run by root.
pub const ROOTLESS_BUILD_TOOLS: &[&str] = &["fakeroot", "newuidmap", "unshare"];

/// Makes images. The store's tests have one of their own.
#[async_trait]
pub trait Builder: Send + Sync {
    /// Makes `disk.qcow2`, `vmlinuz` and `initrd` in `out`, with `work` for everything else. Both folders are empty and
    /// on the store's disk. Dropping the future ends everything that it started.
    async fn build(
        &self,
        recipe: &Recipe,
        arch: &str,
        work: &Path,
        out: &Path,
        progress: &dyn Progress,
    ) -> Result<Built>;
}

/// What the store needs to know of a built image besides its files.
#[derive(Debug, Clone)]
pub struct Built {
    /// The disk's size as the guest sees it, in bytes.
    pub virtual_size: u64,
    /// Kernel parameters for direct boot, without a console.
    pub cmdline: String,
    /// The operating system with its point release, as its own `os-release` says.
    pub os: String,
    /// The engine's version, if the recipe brings one and its package is known.
    pub engine_version: Option<String>,
}

/// Builds with `mmdebstrap`, as root or, with user namespaces, as anyone.
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
        let kernel_package = recipe
            .kernel
            .get(arch)
            .ok_or_else(|| unsupported(recipe, arch))?;
        require_tools()?;

        let rootfs = rootfs::make(recipe, kernel_package, &names, work, progress).await?;
        progress.phase("Making the initrd");
        let kernel = modules::Kernel::find(&rootfs.folder)?;
        initrd::write(recipe, &kernel, &rootfs.folder, &out.join("initrd")).await?;
        std::fs::copy(&kernel.image, out.join("vmlinuz")).map_err(Error::io(&kernel.image))?;
        overlay::write(recipe, &work.join("overlay"))?;

        progress.phase("Making the file system");
        let virtual_size = recipe
            .disk
            .bytes()
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
            virtual_size,
            cmdline: recipe.cmdline.join(" "),
            os: rootfs.os(recipe),
            engine_version: rootfs.engine_version(recipe),
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

/// The program of the initrd, which an image's identity depends on as on its recipe.
pub(crate) fn init_script() -> &'static str {
    initrd::INIT
}

fn unsupported(recipe: &Recipe, arch: &str) -> Error {
    Error::Arch {
        recipe: recipe.name.clone(),
        arch: arch.to_owned(),
    }
}

fn require_tools() -> Result<()> {
    let rootless: &[&str] = if nix::unistd::Uid::effective().is_root() {
        &[]
    } else {
        ROOTLESS_BUILD_TOOLS
    };
    match BUILD_TOOLS
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
