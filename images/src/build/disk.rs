//! The bootable disk: a GPT with an EFI system partition and the root file system, without a loop device.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use berth_driver_api::Progress;
use tokio::io::AsyncWriteExt;

use crate::build::modules::Kernel;
use crate::build::rootfs::{Rootfs, explain};
use crate::build::{Names, with_system_path};
use crate::run::{command, run_quietly};
use crate::{Error, Recipe, Result};

const MIB: u64 = 1 << 20;
/// Where the EFI system partition starts and how long it is: two kernels with their initrds fit.
const ESP_START: u64 = MIB;
const ESP_SIZE: u64 = 63 * MIB;
const ROOT_START: u64 = ESP_START + ESP_SIZE;
/// The second copy of the partition table is at the end.
const TAIL: u64 = MIB;
const ESP_TYPE: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";

/// Lays the overlay over the root file system and makes an ext4 of it, all in one session that sees the right owners.
/// $1 root, $2 overlay, $3 disk, $4 offset, $5 size in KiB; the patterns to remove follow.
const ASSEMBLE: &str = r#"
set -e
root=$1 overlay=$2 disk=$3 offset=$4 size=$5
shift 5
( cd "$root"; set +f; for pattern in "$@"; do rm -rf -- $pattern; done )
tar -C "$overlay" --owner=0 --group=0 -cf - . | tar -C "$root" --no-overwrite-dir --keep-directory-symlink --numeric-owner -xpf -
mke2fs -q -F -t ext4 -L berth-root -b 4096 -m 1 -J size=64 \
    -O ^orphan_file,^metadata_csum_seed -E "offset=$offset,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0" \
    -d "$root" "$disk" "$size"k
"#;

pub(crate) struct Disk<'a> {
    pub(crate) work: &'a Path,
    pub(crate) out: &'a Path,
    pub(crate) names: &'a Names,
    pub(crate) virtual_size: u64,
    pub(crate) cmdline: String,
    pub(crate) title: &'a str,
}

impl Disk<'_> {
    pub(crate) async fn make(
        &self,
        recipe: &Recipe,
        rootfs: &Rootfs,
        kernel: &Kernel,
        progress: &dyn Progress,
    ) -> Result<()> {
        let raw = self.work.join("disk.raw");
        let file = File::create(&raw).map_err(Error::io(&raw))?;
        file.set_len(self.virtual_size).map_err(Error::io(&raw))?;
        drop(file);
        self.root(recipe, rootfs, &raw)
            .await
            .map_err(|error| explain(error, "", &raw))?;
        self.partition(&raw).await?;
        self.esp(rootfs, kernel, &raw).await?;

        progress.phase("Writing the disk image");
        let mut convert = command("qemu-img")?;
        convert
            .args([
                "convert",
                "-f",
                "raw",
                "-O",
                "qcow2",
                "-o",
                "lazy_refcounts=off,preallocation=off",
            ])
            .arg(&raw)
            .arg(self.out.join("disk.qcow2"));
        run_quietly("qemu-img", convert)
            .await
            .map_err(|error| explain(error, "", self.out))?;
        fs::remove_file(&raw).map_err(Error::io(&raw))
    }

    async fn root(&self, recipe: &Recipe, rootfs: &Rootfs, raw: &Path) -> Result<()> {
        let mut shell = match &rootfs.owners {
            None => command("sh")?,
            Some(owners) => {
                let mut fakeroot = command("fakeroot")?;
                fakeroot.arg("-i").arg(owners).args(["--", "sh"]);
                fakeroot
            }
        };
        let size = (self.virtual_size - ROOT_START - TAIL) / 1024;
        shell
            .args(["-c", ASSEMBLE, "sh"])
            .arg(&rootfs.folder)
            .arg(self.work.join("overlay"))
            .arg(raw)
            .args([ROOT_START.to_string(), size.to_string()])
            .args(&recipe.remove);
        with_system_path(&mut shell);
        run_quietly("mke2fs", shell).await
    }

    async fn partition(&self, raw: &Path) -> Result<()> {
        let script = format!(
            "label: gpt\nsector-size: 512\n\
             start={}, size={}, type={ESP_TYPE}, name=berth-esp\n\
             start={}, size={}, type={}, name=berth-root\n",
            ESP_START / 512,
            ESP_SIZE / 512,
            ROOT_START / 512,
            (self.virtual_size - ROOT_START - TAIL) / 512,
            self.names.root_type,
        );
        let mut sfdisk = command("sfdisk")?;
        sfdisk
            .args(["--quiet", "--no-reread", "--no-tell-kernel"])
            .arg(raw);
        sfdisk
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = sfdisk
            .spawn()
            .map_err(|error| Error::tool("sfdisk", error))?;
        if let Some(mut stdin) = child.stdin.take() {
            // If sfdisk does not read, its exit status says why.
            let _ = stdin.write_all(script.as_bytes()).await;
        }
        let output = child
            .wait_with_output()
            .await
            .map_err(|error| Error::tool("sfdisk", error))?;
        if output.status.success() {
            return Ok(());
        }
        let words = berth_driver_api::process::last_lines(&output.stderr, 5);
        Err(Error::tool("sfdisk", words))
    }

    /// A FAT file system with systemd-boot, the kernel and the initrd, for firmware that boots the disk by itself.
    async fn esp(&self, rootfs: &Rootfs, kernel: &Kernel, raw: &Path) -> Result<()> {
        let loader = rootfs
            .folder
            .join("usr/lib/systemd/boot/efi")
            .join(self.names.efi_loader);
        let tree = self.work.join("esp");
        let put = |path: &str, from: &Path| -> Result<()> {
            let to = tree.join(path);
            fs::copy(from, &to).map(drop).map_err(Error::io(from))
        };
        for folder in ["EFI/BOOT", "loader/entries", "berth"] {
            let folder = tree.join(folder);
            fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        }
        put(&format!("EFI/BOOT/{}", self.names.efi_boot), &loader)?;
        put("berth/vmlinuz", &kernel.image)?;
        put("berth/initrd", &self.out.join("initrd"))?;
        text(tree.join("loader/loader.conf"), "timeout 0\neditor no\n")?;
        let entry = format!(
            "title {}\nlinux /berth/vmlinuz\ninitrd /berth/initrd\noptions {} {}\n",
            self.title, self.cmdline, self.names.console
        );
        text(tree.join("loader/entries/berth.conf"), &entry)?;

        let image = format!("{}@@{ESP_START}", raw.display());
        let mut format = command("mformat")?;
        format
            .args(["-i", &image, "-v", "BERTH-ESP", "-T"])
            .arg((ESP_SIZE / 512).to_string())
            .args(["-h", "255", "-s", "63", "-H"])
            .arg((ESP_START / 512).to_string())
            .arg("::");
        run_quietly("mformat", format).await?;
        let mut copy = command("mcopy")?;
        copy.args(["-i", &image, "-s", "-Q"])
            .args(["EFI", "loader", "berth"].map(|name| tree.join(name)))
            .arg("::");
        run_quietly("mcopy", copy).await
    }
}

fn text(path: PathBuf, content: &str) -> Result<()> {
    let mut file = File::create(&path).map_err(Error::io(&path))?;
    file.write_all(content.as_bytes()).map_err(Error::io(&path))
}
