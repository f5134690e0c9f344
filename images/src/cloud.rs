//! Cloud images: disks that distributors publish, as data of the catalog.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::signature::Signer;
use crate::{Error, Result};

/// The `family` of a catalog entry that is downloaded, not built.
pub(crate) const FAMILY: &str = "cloud";

/// A `signature` of this word is in the checksum file itself.
const INLINE: &str = "inline";

/// Where a distributor's image is had, and who vouches for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CloudImage {
    /// Its file's name without `.toml`; set by the catalog.
    #[serde(skip_deserializing, default)]
    pub name: String,
    /// Always `cloud`.
    pub family: String,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// The operating system, for people: `Ubuntu 24.04`.
    pub os: String,
    /// The user that is let in: root, or one that the image makes itself and that may use sudo.
    #[serde(default = "root")]
    pub user: String,
    /// By architecture as `uname -m` says it, where the disk is had: tried in this order. The file's name may have a `*`,
    /// for what the checksum file tells.
    pub urls: BTreeMap<String, Vec<String>>,
    /// The checksum file's name, beside the disk; `{file}` and `{arch}` stand for the disk's name and architecture.
    pub checksums: String,
    /// The checksum file's signature: a file's name as in `checksums`, or `inline`. Without one, what vouches for the
    /// checksum file is that it came over HTTPS.
    #[serde(default)]
    pub signature: Option<String>,
    /// The signer's primary key by its fingerprint: 40 upper-case hex digits.
    #[serde(default)]
    pub key: Option<String>,
    /// The file in `keys/` that holds it.
    #[serde(default)]
    pub keyring: Option<String>,
    /// That file's content; set by the catalog.
    #[serde(skip)]
    pub(crate) key_file: Vec<u8>,
}

/// How a checksum file is signed.
pub(crate) enum Signed {
    No,
    /// By the text itself.
    Inline(Signer),
    /// By a file of this name.
    Detached(Signer, String),
}

fn root() -> String {
    "root".into()
}

impl CloudImage {
    /// Where the disk for `arch` is had.
    ///
    /// # Errors
    /// [`Error::Arch`] if nowhere.
    pub(crate) fn urls(&self, arch: &str) -> Result<&[String]> {
        let found = self.urls.get(arch).ok_or_else(|| Error::Arch {
            recipe: self.name.clone(),
            arch: arch.to_owned(),
        })?;
        Ok(found)
    }

    /// The checksum file's name for a disk.
    pub(crate) fn checksums(&self, file: &str, arch: &str) -> String {
        fill(&self.checksums, file, arch)
    }

    pub(crate) fn signed(&self, file: &str, arch: &str) -> Signed {
        let (Some(signature), Some(key)) = (&self.signature, &self.key) else {
            return Signed::No;
        };
        let signer = Signer {
            fingerprint: key.clone(),
            keyring: self.key_file.clone(),
        };
        match signature.as_str() {
            INLINE => Signed::Inline(signer),
            name => Signed::Detached(signer, fill(name, file, arch)),
        }
    }

    /// Refuses what would only fail when the image is wanted, and what nothing would vouch for.
    pub(crate) fn check(&self) -> Result<(), String> {
        let name = |text: &str| {
            !text.is_empty()
                && !text.starts_with('.')
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-{}".contains(&b))
        };
        for file in self.signature.iter().chain([&self.checksums]) {
            if !name(file) {
                return Err(format!(
                    "{file:?} is not the name of a file beside the disk"
                ));
            }
        }
        if !is_user(&self.user) {
            return Err(format!("{:?} is not the name of a user", self.user));
        }
        for url in self.urls.values().flatten() {
            let folder = url.rsplit_once('/').map_or("", |(folder, _)| folder);
            if !crate::fetch::is_url(url) || folder.contains('*') || url.matches('*').count() > 1 {
                return Err(format!("{url:?} is not the address of a file"));
            }
        }
        if self.urls.values().any(Vec::is_empty) {
            return Err("an architecture without an address".into());
        }
        let fingerprint = |key: &str| {
            key.len() == 40
                && key
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
        };
        match (&self.signature, &self.key, &self.keyring) {
            (None, None, None) => Ok(()),
            (Some(_), Some(key), Some(_)) if fingerprint(key) => Ok(()),
            (Some(_), Some(key), Some(_)) => Err(format!(
                "key = {key:?} is not a fingerprint of 40 upper-case hex digits"
            )),
            _ => Err("signature, key and keyring go together".into()),
        }
    }
}

/// Whether this can be the name of a guest's user.
pub(crate) fn is_user(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_-".contains(&c);
    !name.is_empty() && name.len() <= 32 && !name.starts_with('-') && name.bytes().all(plain)
}

fn fill(pattern: &str, file: &str, arch: &str) -> String {
    pattern.replace("{file}", file).replace("{arch}", arch)
}
