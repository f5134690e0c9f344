//! Bringing a stored image to a registry.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use berth_driver_api::Progress;

use super::address::Version;
use super::config::Config;
use super::manifest::{self, Blob, MANIFEST};
use super::pack::pack;
use super::registry::Registry;
use super::{Access, Address, Failed};
use crate::{Digest, Error, Image, Result, Store};

/// Beside an image's files: what each of them is when it is packed, so that it need not be packed again to find out that
/// a registry has it.
const PACKED: &str = "packed.json";

/// No such file is longer (bytes).
const LARGEST: u64 = 64 << 10;

impl Store {
    /// Brings `image` to the registry, and makes the tag of `address` mean it. What the registry has already is not sent
    /// again; the same image makes the same manifest. Returns the address by the manifest's digest.
    ///
    /// # Errors
    /// [`Error::InvalidReference`] for an address without a tag, [`Error::Registry`], [`Error::WrongKind`] for a kernel, [`Error::Damaged`] if the image is not what it was.
    pub async fn push(
        &self,
        image: &Image,
        address: &Address,
        access: &Access,
        progress: &dyn Progress,
    ) -> Result<Address> {
        if let Version::Digest(_) = address.version() {
            return Err(Error::InvalidReference {
                reference: address.to_string(),
                reason: "an image is pushed under a tag, and has its digest by what it is",
            });
        }
        let work = self.push_to(image, address, access, progress);
        work.await.map_err(|failed| failed.about(address))
    }

    async fn push_to(
        &self,
        image: &Image,
        address: &Address,
        access: &Access,
        progress: &dyn Progress,
    ) -> Result<Address, Failed> {
        let config = Config::of(image)?;
        let registry = Registry::new(address, access, "pull,push")?;
        let workspace = self.workspace().await?;
        let work = workspace.folder("work")?;
        // The smallest first: who may not push is told before anything is packed.
        progress.phase("Asking the registry");
        let text = serde_json::to_vec(&config).map_err(|error| Error::tool("config", error))?;
        let config_blob = Blob {
            digest: Digest::of(&text),
            size: text.len() as u64,
        };
        let path = work.join("config");
        fs::write(&path, &text).map_err(Error::io(&path))?;
        if !registry.has(&config_blob.digest).await? {
            registry.upload(&config_blob, &path, &|_| {}).await?;
        }
        let mut packed = Packed::read(image);
        let mut layers = Vec::new();
        for (name, digest, size) in config.files() {
            let layer = match packed.of(name, digest) {
                Some(layer) if registry.has(&layer.digest).await? => layer,
                _ => {
                    let path = work.join(name);
                    let layer = pack_file(image, (name, digest, size), &path, progress).await?;
                    send(&registry, name, &layer, &path, progress).await?;
                    fs::remove_file(&path).map_err(Error::io(&path))?;
                    packed.keep(name, digest, &layer);
                    layer
                }
            };
            layers.push(layer);
        }
        packed.write(image);
        progress.phase("Naming the image in the registry");
        let manifest = manifest::write(&config, &config_blob, &layers)?;
        registry.put_manifest(&manifest, MANIFEST).await?;
        Ok(address.at(Digest::of(&manifest)))
    }
}

/// Packs a file of the image, and insists that it is still the one that was stored.
async fn pack_file(
    image: &Image,
    (name, digest, size): (&str, &Digest, u64),
    to: &Path,
    progress: &dyn Progress,
) -> Result<Blob> {
    progress.phase(&format!("Packing {name}"));
    let (from, to) = (image.folder().join(name), to.to_owned());
    let (send, mut far) = tokio::sync::watch::channel(0);
    let work = tokio::task::spawn_blocking(move || {
        // Nobody listens any more if the push was given up.
        pack(&from, &to, &|done| _ = send.send(done))
    });
    while far.changed().await.is_ok() {
        progress.bytes(*far.borrow_and_update(), Some(size));
    }
    let (found, blob) = work.await.map_err(|error| Error::tool("zstd", error))??;
    if found == *digest {
        return Ok(blob);
    }
    Err(Error::Damaged {
        digest: image.digest.clone(),
        detail: format!("{name} has the digest {found}, not {digest}"),
    })
}

async fn send(
    registry: &Registry,
    name: &str,
    layer: &Blob,
    path: &Path,
    progress: &dyn Progress,
) -> Result<(), Failed> {
    if registry.has(&layer.digest).await? {
        return Ok(());
    }
    progress.phase(&format!("Sending {name}"));
    let far = |sent| progress.bytes(sent, Some(layer.size));
    registry.upload(layer, path, &far).await
}

/// What the files of an image are when they are packed: by name and digest.
struct Packed(BTreeMap<String, Blob>);

impl Packed {
    fn read(image: &Image) -> Self {
        let path = image.folder().join(PACKED);
        let small = fs::metadata(&path).is_ok_and(|metadata| metadata.len() <= LARGEST);
        let text = small.then(|| fs::read(&path).ok()).flatten();
        // What cannot be read is found out anew.
        Packed(
            text.and_then(|text| serde_json::from_slice(&text).ok())
                .unwrap_or_default(),
        )
    }

    fn of(&self, name: &str, digest: &Digest) -> Option<Blob> {
        self.0.get(&key(name, digest)).cloned()
    }

    fn keep(&mut self, name: &str, digest: &Digest, blob: &Blob) {
        self.0.insert(key(name, digest), blob.clone());
    }

    /// What cannot be kept is no reason to fail.
    fn write(&self, image: &Image) {
        let write = || -> std::io::Result<()> {
            let file = tempfile::NamedTempFile::new_in(image.folder())?;
            serde_json::to_writer(&file, &self.0)?;
            file.persist(image.folder().join(PACKED))?;
            Ok(())
        };
        if let Err(error) = write() {
            tracing::debug!("{PACKED}: {error}");
        }
    }
}

fn key(name: &str, digest: &Digest) -> String {
    format!("{name}@{digest}")
}
