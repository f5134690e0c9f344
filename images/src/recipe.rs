//! How an image is made, as data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Engine;

/// Overrides the recipes' package mirror, for computers that have a nearer one.
pub const MIRROR_VARIABLE: &str = "BERTH_DEBIAN_MIRROR";

/// What a shell reads as more than a word.
const SHELL: &str = "'\"$`;&|<>()\\";

/// Everything that an image is made of, with what it extends already merged in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// Its file's name without `.toml`; set by the catalog.
    #[serde(skip_deserializing, default)]
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// The operating system, for people: `Debian 13`.
    #[serde(default)]
    pub os: String,
    /// What it makes, and how.
    pub family: Family,
    /// The distribution's release.
    pub suite: String,
    /// Where packages come from.
    pub mirror: String,
    /// Where security updates come from; none if empty.
    #[serde(default)]
    pub security_mirror: String,
    /// The archive's components.
    pub components: Vec<String>,
    /// Further package sources, as lines of `sources.list`.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Whether an archive's list that is past its date is refused. Signatures are checked in any case.
    // The default is left out, so that it changes no hash.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub check_valid_until: bool,
    /// What is installed besides the essential packages and the kernel.
    pub packages: Vec<String>,
    /// Packages that upgrades inside the guest leave alone; `@kernel` is the kernel's.
    #[serde(default)]
    pub hold: Vec<String>,
    /// The kernel's package by architecture.
    pub kernel: BTreeMap<String, String>,
    /// Kernel parameters, without a console.
    #[serde(default)]
    pub cmdline: Vec<String>,
    /// The initrd's drivers.
    pub initrd: Initrd,
    /// The disk; `None` for a recipe of a kernel.
    #[serde(default)]
    pub disk: Option<Disk>,
    /// The engine that the packages bring, if any.
    #[serde(default)]
    pub engine: Option<Engine>,
    /// Units that never start.
    #[serde(default)]
    pub mask: Vec<String>,
    /// Units that a unit wants, besides what the packages enable.
    #[serde(default)]
    pub wants: BTreeMap<String, Vec<String>>,
    /// Kernel modules that are loaded at boot.
    #[serde(default)]
    pub modules_load: Vec<String>,
    /// Programs that make units at boot and are left out.
    #[serde(default)]
    pub mask_generators: Vec<String>,
    /// What is deleted from the root file system: shell patterns, relative to it.
    #[serde(default)]
    pub remove: Vec<String>,
    /// What is added to the root file system; a later entry of the same path wins.
    #[serde(default)]
    pub files: Vec<RecipeFile>,
}

/// What a recipe builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// A guest's disk: Debian and what is laid out like it.
    Debian,
    /// A kernel for the driver `uml`: User Mode Linux as Debian packages it.
    Uml,
}

/// What the initrd loads.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Initrd {
    /// Loaded always, unless built in.
    #[serde(default)]
    pub modules: Vec<String>,
    /// Groups of modules, loaded if there is a device that the first one drives.
    #[serde(default)]
    pub drivers: Vec<Vec<String>>,
    /// Commands of the root file system, run one after the other beside systemd's start, while the CPUs but one have
    /// nothing to do yet. What the boot waits for later is then in memory, and translated where the CPU is emulated.
    #[serde(default)]
    pub run_ahead: Vec<String>,
}

/// The disk's layout.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// The size that the guest sees, such as `20GiB`. Unused parts take no space.
    pub size: String,
}

impl Disk {
    /// The size in bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn bytes(&self) -> Result<u64, String> {
        let number = self
            .size
            .strip_suffix("GiB")
            .and_then(|n| n.trim().parse::<u64>().ok());
        match number {
            Some(gib) if (2..=16384).contains(&gib) => Ok(gib << 30),
            _ => Err(format!(
                "disk.size = {:?} is not a size from \"2GiB\" to \"16384GiB\"",
                self.size
            )),
        }
    }
}

/// A file or a symbolic link in the root file system.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeFile {
    /// Where it goes.
    pub path: String,
    /// Its text.
    #[serde(default)]
    pub content: Option<String>,
    /// Or the name of a file beside the recipes, in `files/`; replaced by `content` when the catalog is loaded.
    #[serde(default)]
    pub source: Option<String>,
    /// Or where it points, as a symbolic link.
    #[serde(default)]
    pub link: Option<String>,
    /// Its permissions in octal.
    #[serde(default = "default_mode")]
    pub mode: String,
}

fn default_mode() -> String {
    "0644".into()
}

fn yes() -> bool {
    true
}

impl RecipeFile {
    /// The permissions as a number; the catalog has checked them.
    pub(crate) fn permissions(&self) -> u32 {
        u32::from_str_radix(&self.mode, 8).unwrap_or(0o644) & 0o7777
    }
}

impl Recipe {
    /// The mirror to use: the user's choice, or the recipe's.
    pub(crate) fn effective_mirror(&self) -> String {
        match std::env::var(MIRROR_VARIABLE) {
            Ok(mirror) if !mirror.trim().is_empty() => mirror.trim().to_owned(),
            _ => self.mirror.clone(),
        }
    }

    /// Refuses what would only fail in the middle of a build, or write outside the image.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.check_family()?;
        for url in [&self.mirror, &self.security_mirror] {
            if !url.is_empty() && (!url.contains("://") || url.contains(char::is_whitespace)) {
                return Err(format!("{url:?} is not the address of a mirror"));
            }
        }
        for name in self.packages.iter().chain(self.kernel.values()) {
            if name.is_empty()
                || !name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"+-.:=~".contains(&b))
            {
                return Err(format!("{name:?} is not the name of a package"));
            }
        }
        let modules = self.modules_load.iter().chain(&self.initrd.modules);
        for name in modules.chain(self.initrd.drivers.iter().flatten()) {
            if name.is_empty()
                || !name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
            {
                return Err(format!("{name:?} is not the name of a kernel module"));
            }
        }
        let units = self
            .mask
            .iter()
            .chain(self.wants.keys())
            .chain(self.wants.values().flatten());
        for unit in units {
            if !unit.contains('.') || unit.contains('/') {
                return Err(format!("{unit:?} is not the name of a unit"));
            }
        }
        for name in &self.mask_generators {
            if name.is_empty() || name.starts_with('.') || name.contains('/') {
                return Err(format!("{name:?} is not the name of a generator"));
            }
        }
        for command in &self.initrd.run_ahead {
            if command.contains(|c: char| c.is_control() || SHELL.contains(c)) {
                return Err(format!(
                    "{command:?} is more than a program and its arguments"
                ));
            }
        }
        for pattern in &self.remove {
            if pattern.starts_with('/')
                || pattern
                    .split('/')
                    .any(|part| part == ".." || part.is_empty())
            {
                return Err(format!("{pattern:?} does not lie inside the image"));
            }
            if pattern.contains(|c: char| c.is_whitespace() || SHELL.contains(c)) {
                return Err(format!("{pattern:?} is more than a pattern of file names"));
            }
        }
        self.files.iter().try_for_each(check_file)
    }

    /// Refuses what the family needs and is not there, and what would be silently left out.
    fn check_family(&self) -> Result<(), String> {
        let foreign = match (self.family, &self.disk) {
            (Family::Debian, None) => return Err("a recipe of a guest needs [disk]".into()),
            (Family::Debian, Some(disk)) => return disk.bytes().map(drop),
            (Family::Uml, disk) => [
                ("disk", disk.is_some()),
                ("security-mirror", !self.security_mirror.is_empty()),
                ("engine", self.engine.is_some()),
                ("cmdline", !self.cmdline.is_empty()),
                ("files", !self.files.is_empty()),
                ("remove", !self.remove.is_empty()),
                ("mask", !self.mask.is_empty()),
                ("mask-generators", !self.mask_generators.is_empty()),
                ("wants", !self.wants.is_empty()),
                ("hold", !self.hold.is_empty()),
                ("modules-load", !self.modules_load.is_empty()),
                ("initrd.drivers", !self.initrd.drivers.is_empty()),
                ("initrd.run-ahead", !self.initrd.run_ahead.is_empty()),
            ],
        };
        match foreign.iter().find(|(_, there)| *there) {
            Some((field, _)) => Err(format!("{field} means nothing in a recipe of a kernel")),
            None => Ok(()),
        }
    }
}

fn check_file(file: &RecipeFile) -> Result<(), String> {
    let RecipeFile { path, .. } = file;
    let clean = path
        .strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")));
    if !clean || path.contains(char::is_control) {
        return Err(format!(
            "files: {path:?} is not an absolute path without . and .."
        ));
    }
    let kinds = [&file.content, &file.source, &file.link];
    if kinds.iter().filter(|kind| kind.is_some()).count() != 1 {
        return Err(format!(
            "files: {path} has not exactly one of content, source and link"
        ));
    }
    match u32::from_str_radix(&file.mode, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(()),
        _ => Err(format!(
            "files: {path}: the mode {:?} is not octal",
            file.mode
        )),
    }
}
