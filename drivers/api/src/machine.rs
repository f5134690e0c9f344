//! What a driver is told about a machine.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One machine, as a driver sees it. The same value is handed to every call about that machine.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Never reused; resources outside `folder` are named after it.
    pub id: Uuid,
    /// A DNS label of 2 to 63 characters, checked before a driver sees it.
    pub name: String,
    /// This machine's own folder for the driver's files. Exists, mode 0700; `remove` need not delete it.
    pub folder: PathBuf,
    /// Where the machine's unix sockets go: a path short enough for `sun_path` (108 bytes). Exists, mode 0700.
    pub sockets: PathBuf,
    /// Where loopback ports are leased for all machines of this berth home; see [`crate::ports::Ports`].
    pub ports: PathBuf,
    /// Where networks that machines of this berth home share are kept. Made by the driver that makes the first one.
    #[serde(default)]
    pub networks: PathBuf,
    /// A small disk, as a raw file, that the guest sees read-only besides its own: the seed by which cloud-init sets
    /// up images that berth did not build. It may change between starts. Only for drivers with the capability `seed`.
    #[serde(default)]
    pub seed: Option<PathBuf>,
    /// Folders of the host that the guest is to see. They may change between starts. A driver with the capability
    /// `shares` gives the machine those that it can when it starts; whoever mounts one finds out by its tag.
    #[serde(default)]
    pub shares: Vec<Share>,
    /// What was asked for.
    pub spec: Spec,
}

/// A folder of the host, as a device of the machine's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    /// What the guest knows it by: 1 to 36 letters, digits and dashes, and no two of a machine are alike.
    pub tag: String,
    /// The folder.
    pub folder: PathBuf,
    /// Whether the guest may only read it.
    #[serde(default)]
    pub read_only: bool,
}

/// The size, image and driver options of a machine.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Spec {
    /// Virtual CPUs, at least 1.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Disk size in bytes; never smaller than the image.
    pub disk: u64,
    /// The guest image; `None` where the driver adopts something that already runs.
    pub image: Option<BootImage>,
    /// The user's `-o KEY=VALUE`, by name.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl Spec {
    /// The user's value of option `name`, or `default`.
    pub fn option<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.options.get(name).map_or(default, String::as_str)
    }

    /// How large the machine is to be.
    pub fn size(&self) -> Size {
        Size {
            cpus: self.cpus,
            memory: self.memory,
            disk: self.disk,
        }
    }
}

/// How large a machine is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Size {
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Disk in bytes.
    pub disk: u64,
}

/// What a machine has so much of.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// Virtual CPUs.
    Cpus,
    /// Memory.
    Memory,
    /// The disk.
    Disk,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Resource::Cpus => "CPUs",
            Resource::Memory => "memory",
            Resource::Disk => "disk",
        })
    }
}

/// A stored guest image: read-only files shared by all machines made of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BootImage {
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// The guest's architecture as `uname -m` says it: `x86_64`, `aarch64`.
    pub arch: String,
    /// The bootable disk (GPT with an EFI system partition); machines write to an overlay of it.
    pub disk: PathBuf,
    /// The disk file's format.
    pub format: DiskFormat,
    /// The disk's size as the guest sees it, in bytes.
    pub virtual_size: u64,
    /// For direct boot without firmware, where the image has it.
    pub kernel: Option<PathBuf>,
    /// The initrd that goes with `kernel`.
    pub initrd: Option<PathBuf>,
    /// Kernel parameters that go with `kernel`, without a console.
    pub cmdline: Option<String>,
    /// The driver's own kernel, where it asked for one by [`crate::Needs::kernel`].
    #[serde(default)]
    pub driver_kernel: Option<DriverKernel>,
}

/// A stored image that holds a kernel made for one driver, in place of the guest image's own.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DriverKernel {
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// The folder of its files, which are read-only; what they are called is between the kernel's recipe and the driver.
    pub folder: PathBuf,
}

/// Disk file formats that drivers accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
    /// A plain, usually sparse, disk.
    Raw,
}

impl DiskFormat {
    /// The name that `qemu-img -f` takes.
    pub fn name(self) -> &'static str {
        match self {
            DiskFormat::Qcow2 => "qcow2",
            DiskFormat::Raw => "raw",
        }
    }
}

impl Machine {
    /// A file of the driver's in this machine's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A unix socket of this machine.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.sockets.join(name)
    }

    /// The image, or an error for drivers that cannot do without one.
    pub fn image(&self) -> crate::Result<&BootImage> {
        self.spec
            .image
            .as_ref()
            .ok_or_else(|| crate::Error::failed("this driver needs an image", "none was given"))
    }

    /// True if `path` lies in the machine's own folders; drivers touch nothing else.
    pub fn owns(&self, path: &Path) -> bool {
        path.starts_with(&self.folder) || path.starts_with(&self.sockets)
    }
}

/// A locally administered network address that is the machine's from start to start.
pub fn mac(id: Uuid) -> String {
    let [.., a, b, c, d] = *id.as_bytes();
    format!("52:54:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}
