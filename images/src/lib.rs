//! Guest images and drivers' kernels: named, built from recipes that are data or downloaded from distributors,
//! digest-checked, stored once.
//!
//! A [`Catalog`] knows the recipes that berth brings and those of the user's folder. A [`Store`] keeps finished
//! images by the digest of their content; [`Store::ensure`] finds an image there, or builds or downloads it.

mod build;
mod catalog;
mod checksum;
mod cloud;
mod digest;
mod embedded;
mod error;
mod fetch;
mod format;
mod image;
mod import;
mod kernel;
mod lock;
mod oci;
mod prune;
mod pull;
mod recipe;
mod reference;
mod run;
mod signature;
mod store;
mod unpack;
mod workspace;

pub use build::{
    BUILD_TOOLS, Builder, Built, KERNEL_BUILD_TOOLS, Made, Mmdebstrap, ROOTLESS_BUILD_TOOLS,
    STORE_TOOLS,
};
pub use catalog::Catalog;
pub use checksum::Checksum;
pub use cloud::CloudImage;
pub use digest::Digest;
pub use error::{Error, Result};
pub use fetch::is_url;
pub use image::{Engine, Image, Pulled, Source};
pub use kernel::KernelInfo;
pub use oci::{Access, Address, Problem, is_in_registry};
pub use prune::Pruned;
pub use recipe::{Family, MIRROR_VARIABLE, Recipe};
pub use reference::Reference;
pub use store::Store;

/// The architecture of this computer, as `uname -m` says it.
pub const HOST_ARCH: &str = std::env::consts::ARCH;
