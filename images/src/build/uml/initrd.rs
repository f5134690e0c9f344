//! The kernel's own initrd: a shell and a script. The disks' driver and file system are built into the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::build::cpio::Cpio;
use crate::build::initrd::{node_permissions, shell};
use crate::build::modules::Kernel;
use crate::build::uml::{features, lines};
use crate::{Error, KernelInfo, Recipe, Result};

/// The initrd's first and only program.
const INIT: &str = include_str!("../../../recipes/files/uml-init");

/// What dockerd finds as iptables where the kernel has none that translates addresses.
const IPTABLES: &str = include_str!("../../../recipes/files/uml-iptables");

/// What gives containers' traffic to other machines of a group this machine's address, for the same kernels.
const SHARED_NAT: &str = include_str!("../../../recipes/files/uml-shared-nat");

/// Every script in it.
pub(crate) const SCRIPTS: &str = concat!(
    include_str!("../../../recipes/files/uml-init"),
    include_str!("../../../recipes/files/uml-iptables"),
    include_str!("../../../recipes/files/uml-shared-nat")
);

/// Where the script has the device nodes from.
const NODES: &str = "berth/nodes";

/// Writes the initrd, not compressed. Drivers append an archive with a machine's credentials to it.
pub(crate) fn write(
    recipe: &Recipe,
    kernel: &Kernel,
    info: &KernelInfo,
    root: &Path,
    to: &Path,
) -> Result<()> {
    let mut cpio = Cpio::default();
    for folder in [
        "bin",
        "dev",
        "proc",
        "sys",
        "run",
        "root",
        "lib",
        "credentials",
        "berth",
        NODES,
    ] {
        cpio.folder(folder);
    }
    cpio.file("bin/busybox", 0o755, &shell(recipe, root)?);
    cpio.file("init", 0o755, INIT.as_bytes());
    cpio.file("berth/iptables", 0o755, IPTABLES.as_bytes());
    cpio.file("berth/shared-nat", 0o755, SHARED_NAT.as_bytes());
    cpio.link("lib/modules", "/root/usr/lib/modules");
    cpio.file("berth/table", 0o644, table(recipe, kernel, info).as_bytes());
    cpio.file("berth/limits", 0o644, lines(&info.limits).as_bytes());
    let nodes = kernel.static_nodes();
    let folders: BTreeSet<&str> = nodes
        .iter()
        .flat_map(|(path, _)| path.match_indices('/').map(|(at, _)| &path[..at]))
        .collect();
    for folder in folders {
        cpio.folder(&format!("{NODES}/{folder}"));
    }
    for (path, numbers) in &nodes {
        cpio.device(&format!("{NODES}/{path}"), node_permissions(path), *numbers);
    }
    fs::write(to, cpio.finish()).map_err(Error::io(to))
}

/// What the script knows of this kernel.
fn table(recipe: &Recipe, kernel: &Kernel, info: &KernelInfo) -> String {
    let names = recipe.initrd.modules.iter().map(String::as_str);
    let modules: Vec<&str> = names.filter(|name| kernel.file(name).is_some()).collect();
    let nat = match features::has_nat(info) {
        true => "yes",
        false => "no",
    };
    format!(
        "kernel_version='{}'\nmodules='{}'\nnetfilter_nat={nat}\n",
        info.version,
        modules.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_knows_the_kernels_modules_and_limits() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("usr/bin")).unwrap();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        put("usr/bin/busybox", "shell");
        put(
            "modules.dep",
            "kernel/net/bridge/bridge.ko: kernel/net/llc/llc.ko\nkernel/drivers/net/veth.ko:\n",
        );
        put("modules.builtin", "kernel/fs/overlayfs/overlay.ko\n");
        put("modules.alias", "");
        put("modules.devname", "tun net/tun c10:200\n");
        let kernel = Kernel::read("linux".into(), folder.path().to_owned()).unwrap();
        let info = features::read("7.2.7", &features::tests::config(&[]), "").unwrap();
        let catalog = crate::Catalog::load(None).unwrap();
        let recipe = catalog.recipe("uml-kernel").unwrap();
        // overlay is built in; there is no br_netfilter.
        assert_eq!(
            table(recipe, &kernel, &info),
            "kernel_version='7.2.7'\nmodules='bridge veth'\nnetfilter_nat=no\n"
        );
        let initrd = folder.path().join("initrd");
        write(recipe, &kernel, &info, folder.path(), &initrd).unwrap();
        let bytes = fs::read(initrd).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let mut from = 0;
        for path in [
            "credentials",
            "/root/usr/lib/modules",
            "one CPU",
            "berth/nodes/net\0",
            "berth/nodes/net/tun",
        ] {
            let at = text[from..].find(path);
            assert!(at.is_some(), "{path} is missing, or too early");
            from += at.unwrap();
        }
    }
}
