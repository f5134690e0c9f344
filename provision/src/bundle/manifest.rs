//! What a bundle says of itself.

use serde::{Deserialize, Serialize};

use crate::wanted::Kind;

/// The manifest's name in a bundle.
pub const FILE: &str = "berth-bundle.json";

/// What `berth engine bundle` writes into its bundles. A bundle that others made needs none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The manifest's own version: 1.
    pub bundle: u32,
    /// The engine that is in it.
    pub engine: Kind,
    /// For which family of distributions.
    pub family: String,
    /// The distribution that the packages are of: `debian 13`.
    pub distro: String,
    /// For which architecture, as `uname -m` names it.
    pub arch: String,
    /// Its files.
    pub packages: Vec<Listed>,
}

/// A package in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The file's name.
    pub file: String,
    /// The package's name.
    pub package: String,
    /// The package's version.
    pub version: String,
    /// Its length in bytes.
    pub size: u64,
    /// The SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
}
