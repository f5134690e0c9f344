//! The kernel of a root file system and its modules.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::run::command;
use crate::{Error, Result};

/// The installed kernel.
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    /// `lib/modules/VERSION`.
    folder: PathBuf,
    /// Module name → its file relative to `folder`, and the names of those it needs, nearest first.
    modules: BTreeMap<String, (String, Vec<String>)>,
    builtin: Vec<String>,
    /// In the kernel's order: device pattern, module name.
    aliases: Vec<(String, String)>,
}

impl Kernel {
    pub(crate) fn find(root: &Path) -> Result<Self> {
        let boot = root.join("boot");
        let mut images: Vec<(String, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&boot).map_err(Error::io(&boot))? {
            let path = entry.map_err(Error::io(&boot))?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if let Some(version) = name.strip_prefix("vmlinuz-") {
                images.push((version.to_owned(), path));
            }
        }
        images.sort();
        let Some((version, image)) = images.pop() else {
            return Err(Error::tool("mmdebstrap", "the packages brought no kernel"));
        };
        // Usually below /usr; /lib is a link to it.
        Kernel::read(image, root.join("usr/lib/modules").join(&version))
    }

    /// The kernel `image` with the modules in `folder`, as depmod described them there.
    pub(crate) fn read(image: PathBuf, folder: PathBuf) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(Error::io(path))
        };
        let modules = read("modules.dep")?
            .lines()
            .filter_map(|line| {
                let (file, needs) = line.split_once(':')?;
                let needs = needs.split_whitespace().map(module_name).collect();
                Some((module_name(file), (file.to_owned(), needs)))
            })
            .collect();
        let builtin = read("modules.builtin")?.lines().map(module_name).collect();
        let aliases = read("modules.alias")?
            .lines()
            .filter_map(|line| {
                let mut words = line.strip_prefix("alias ")?.split_whitespace();
                Some((words.next()?.to_owned(), words.next()?.to_owned()))
            })
            .collect();
        Ok(Kernel {
            image,
            folder,
            modules,
            builtin,
            aliases,
        })
    }

    /// `name` and what it needs, in the order of loading. Empty if the kernel has it built in or does not have it.
    pub(crate) fn load_order(&self, name: &str) -> Vec<String> {
        if self.builtin.iter().any(|known| known == name) {
            return Vec::new();
        }
        let Some((_, needs)) = self.modules.get(name) else {
            return Vec::new();
        };
        let mut order: Vec<String> = needs.iter().rev().cloned().collect();
        order.push(name.to_owned());
        order
    }

    /// The patterns of the devices that a module drives.
    pub(crate) fn patterns(&self, name: &str) -> Vec<&str> {
        let of_module = |(pattern, module): &&(String, String)| {
            module == name && !pattern.contains(['(', ')', ';', '"'])
        };
        self.aliases
            .iter()
            .filter(of_module)
            .map(|(pattern, _)| pattern.as_str())
            .collect()
    }

    /// Devices whose first use loads their module: path below /dev, and its major and minor number.
    pub(crate) fn static_nodes(&self) -> Vec<(String, (u32, u32))> {
        let text = fs::read_to_string(self.folder.join("modules.devname")).unwrap_or_default();
        let entry = |line: &str| {
            let mut words = line.split_whitespace();
            let (_, path, numbers) = (words.next()?, words.next()?, words.next()?);
            let (major, minor) = numbers.strip_prefix('c')?.split_once(':')?;
            let plain = path
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_/".contains(&b));
            let numbers = (major.parse().ok()?, minor.parse().ok()?);
            plain.then(|| (path.to_owned(), numbers))
        };
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(entry)
            .collect()
    }

    /// The module's file relative to the modules' folder.
    pub(crate) fn file(&self, name: &str) -> Option<&str> {
        self.modules.get(name).map(|(file, _)| file.as_str())
    }

    /// The module as the kernel loads it, not compressed.
    pub(crate) async fn plain(&self, name: &str) -> Result<Vec<u8>> {
        let file = self
            .file(name)
            .ok_or_else(|| Error::tool("initrd", format!("the kernel has no module {name}")))?;
        unpacked(&self.folder.join(file)).await
    }
}

/// The content of a file of the kernel's, which is compressed as its name says.
pub(super) async fn unpacked(path: &Path) -> Result<Vec<u8>> {
    let unpack: &[&str] = match path.extension().and_then(|e| e.to_str()) {
        Some("ko") => return fs::read(path).map_err(Error::io(path)),
        Some("xz") => &["xz", "--decompress", "--stdout", "--keep", "--force"],
        Some("zst") => &["zstd", "--decompress", "--stdout", "--quiet", "--force"],
        Some("gz") => &["gzip", "--decompress", "--stdout", "--force"],
        _ => {
            return Err(Error::tool(
                "initrd",
                format!("{} is compressed in an unknown way", path.display()),
            ));
        }
    };
    let mut tool = command(unpack[0])?;
    tool.args(&unpack[1..]).arg(path);
    Ok(berth_driver_api::process::output(tool).await?)
}

/// `kernel/drivers/block/virtio_blk.ko.xz` → `virtio_blk`.
fn module_name(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split(".ko").next().unwrap_or(name).replace('-', "_")
}
