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
    let shell = fs::read(&shell).map_err(Error::io(&shell))?;

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
    let _ = writeln!(text, "prefetch='{}'\n", recipe.initrd.prefetch.join(" "));
    text.push_str("static_nodes() {\n");
    for (path, numbers) in kernel.static_nodes() {
        if let Some((folder, _)) = path.rsplit_once('/') {
            let _ = writeln!(text, "    /bin/busybox mkdir -p /dev/{folder}");
        }
        // What anyone may open elsewhere too; the rest is for root.
        let mode = if matches!(path.as_str(), "fuse" | "net/tun") {
            "666"
        } else {
            "600"
        };
        let _ = writeln!(
            text,
            "    [ -e /dev/{path} ] || /bin/busybox mknod -m {mode} /dev/{path} c {numbers}"
        );
    }
    text.push_str("    :\n}\n");
    text
}
