//! Guest images and drivers' kernels: named, built from recipes that are data, digest-checked, stored once.
//!
//! A [`Catalog`] knows the recipes that berth brings and those of the user's folder. A [`Store`] keeps finished
//! images by the digest of their content; [`Store::ensure`] finds an image there or builds it.

mod build;
mod catalog;
mod digest;
mod embedded;
mod error;
mod image;
mod import;
mod kernel;
mod lock;
mod recipe;
mod reference;
mod run;
mod store;
mod workspace;

pub use build::{
    BUILD_TOOLS, Builder, Built, KERNEL_BUILD_TOOLS, Made, Mmdebstrap, ROOTLESS_BUILD_TOOLS,
};
pub use catalog::Catalog;
pub use digest::Digest;
pub use error::{Error, Result};
pub use image::{Engine, Image};
pub use kernel::KernelInfo;
pub use recipe::{Family, MIRROR_VARIABLE, Recipe};
pub use reference::Reference;
pub use store::Store;

/// The architecture of this computer, as `uname -m` says it.
pub const HOST_ARCH: &str = std::env::consts::ARCH;
