//! The initrd: a shell, a script, and the few drivers that a root file system can be behind.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::build::cpio::Cpio;
use crate::build::modules::Kernel;
use crate::{Error, Recipe, Result};

/// The initrd's first and only program.
pub(crate) const INIT: &str = include_str!("../../recipes/files/initrd-init");

/// Writes the initrd, not compressed: it is small, and unpacking takes emulated CPUs longer than reading.
pub(crate) async fn write(recipe: &Recipe, kernel: &Kernel, root: &Path, to: &Path) -> Result<()> {
    let shell = shell(recipe, root)?;
    let mut cpio = Cpio::default();
    for folder in ["bin", "dev", "proc", "sys", "run", "root", "modules"] {
        cpio.folder(folder);
    }
    cpio.file("bin/busybox", 0o755, &shell);
    cpio.file("init", 0o755, INIT.as_bytes());
    cpio.file("modules/table", 0o644, table(recipe, kernel).as_bytes());
    for name in included(recipe, kernel) {
        let module = kernel.plain(&name).await?;
        cpio.file(&format!("modules/{name}.ko"), 0o644, &module);
    }
    fs::write(to, cpio.finish()).map_err(Error::io(to))
}

/// The shell with all its commands, one program without libraries.
pub(crate) fn shell(recipe: &Recipe, root: &Path) -> Result<Vec<u8>> {
    let shell = ["usr/bin/busybox", "bin/busybox"]
        .iter()
        .map(|path| root.join(path))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Error::recipe(
                &recipe.name,
                "the packages must include busybox-static for the initrd",
            )
        })?;
    fs::read(&shell).map_err(Error::io(&shell))
}

fn included(recipe: &Recipe, kernel: &Kernel) -> BTreeSet<String> {
    let drivers = recipe.initrd.drivers.iter().flatten();
    recipe
        .initrd
        .modules
        .iter()
        .chain(drivers)
        .flat_map(|name| kernel.load_order(name))
        .collect()
}

/// What the script knows of this kernel and its modules. A device's modalias and the kernel's patterns for it are
/// shell patterns already.
fn table(recipe: &Recipe, kernel: &Kernel) -> String {
    let order = |names: &[String]| -> String {
        let mut order: Vec<String> = Vec::new();
        for name in names.iter().flat_map(|name| kernel.load_order(name)) {
            if !order.contains(&name) {
                order.push(name);
            }
        }
        order.join(" ")
    };
    let mut text = format!(
        "load_always() {{\n    load {}\n}}\n\n",
        order(&recipe.initrd.modules)
    );
    text.push_str("load_for() {\n    case $1 in\n");
    for group in &recipe.initrd.drivers {
        let names = order(group);
        let patterns = group
            .first()
            .map(|first| kernel.patterns(first))
            .unwrap_or_default();
        if !names.is_empty() && !patterns.is_empty() {
            let _ = writeln!(text, "        {}) load {names} ;;", patterns.join("|"));
        }
    }
    text.push_str("    esac\n}\n\n");
    let _ = writeln!(text, "run_ahead='{}'\n", recipe.initrd.run_ahead.join("; "));
    text.push_str("static_nodes() {\n");
    for (path, (major, minor)) in kernel.static_nodes() {
        if let Some((folder, _)) = path.rsplit_once('/') {
            let _ = writeln!(text, "    /bin/busybox mkdir -p /dev/{folder}");
        }
        let mode = node_permissions(&path);
        let _ = writeln!(
            text,
            "    [ -e /dev/{path} ] || /bin/busybox mknod -m {mode:o} /dev/{path} c {major} {minor}"
        );
    }
    text.push_str("    :\n}\n");
    text
}

/// What anyone may open elsewhere too; the rest is for root.
pub(crate) fn node_permissions(path: &str) -> u32 {
    match path {
        "fuse" | "net/tun" => 0o666,
        _ => 0o600,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root file system whose kernel has virtio_blk, ahci with what it needs, and nvme built in.
    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let modules = root.path().join("usr/lib/modules/6.12");
        fs::create_dir_all(&modules).unwrap();
        fs::create_dir_all(root.path().join("boot")).unwrap();
        fs::write(root.path().join("boot/vmlinuz-6.12"), "kernel").unwrap();
        let write = |name: &str, text: &str| fs::write(modules.join(name), text).unwrap();
        write(
            "modules.dep",
            "kernel/virtio_blk.ko:\nkernel/ahci.ko: kernel/libahci.ko kernel/libata.ko\n\
             kernel/libahci.ko: kernel/libata.ko\nkernel/libata.ko:\nkernel/sd-mod.ko:\n",
        );
        write("modules.builtin", "kernel/drivers/nvme/host/nvme.ko\n");
        write(
            "modules.alias",
            "alias virtio:d00000002v* virtio_blk\nalias pci:v*d*sv*sd*bc01sc06i01* ahci\nalias pci:v1d2* ahci\n",
        );
        write(
            "modules.devname",
            "# comment\nfuse fuse c10:229\ntun net/tun c10:200\nx ../x c1:1\nl loop0 b7:0\n",
        );
        root
    }

    #[test]
    fn a_driver_brings_what_it_needs_in_order_and_what_is_built_in_is_left_out() {
        let root = root();
        let kernel = Kernel::find(root.path()).unwrap();
        let catalog = crate::Catalog::load(None).unwrap();
        let recipe = catalog.recipe("debian-13").unwrap();
        let table = table(recipe, &kernel);
        assert!(
            table.contains("virtio:d00000002v*) load virtio_blk ;;"),
            "{table}"
        );
        assert!(
            table.contains("bc01sc06i01*|pci:v1d2*) load libata libahci ahci sd_mod ;;"),
            "{table}"
        );
        assert!(!table.contains("nvme"), "{table}");
        let files = included(recipe, &kernel);
        assert_eq!(
            files.into_iter().collect::<Vec<_>>(),
            ["ahci", "libahci", "libata", "sd_mod", "virtio_blk"]
        );
    }

    #[test]
    fn device_nodes_lie_below_dev() {
        let root = root();
        let kernel = Kernel::find(root.path()).unwrap();
        let paths: Vec<String> = kernel
            .static_nodes()
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        assert_eq!(paths, ["fuse", "net/tun"]);
    }
}
