//! Having an image from a registry.

use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;

use berth_driver_api::Progress;
use futures_util::{StreamExt, TryStreamExt};

use super::config::Config;
use super::manifest::{self, Blob};
use super::registry::Registry;
use super::{Access, Address, Failed, Problem};
use crate::fetch::{self, Part};
use crate::format::{Format, Kind, look};
use crate::image::{DISK, Description, Pulled};
use crate::import::inspect;
use crate::unpack::unpack_within;
use crate::{Digest, Error, Image, Reference, Result, Store};

/// How many files come at once.
const AT_ONCE: usize = 3;

/// A file of the image on its way.
struct File<'a> {
    name: &'static str,
    /// In bytes, unpacked.
    size: u64,
    layer: &'a Blob,
}

impl Store {
    /// The image that `address` means in its registry, stored under that name. One that is stored is taken without a
    /// question to the registry unless `anew` asks for one; files that are there already do not come again. Of several
    /// callers, in any process, one downloads; the others wait and take what came.
    ///
    /// # Errors
    /// [`Error::Registry`], or why it could not be stored.
    pub async fn pull_from_registry(
        &self,
        address: &Address,
        access: &Access,
        anew: bool,
        progress: &dyn Progress,
    ) -> Result<Image> {
        let name = address.to_string();
        let reference = Reference::Name(name.clone());
        let stored = || self.get(&reference);
        if !anew && let Some(image) = stored()? {
            return Ok(image);
        }
        let (_lock, waited) = self.lock_download(&name, progress).await?;
        if waited && let Some(image) = stored()? {
            return Ok(image);
        }
        let work = self.pull_now(address, access, progress);
        let digest = work.await.map_err(|failed| failed.about(address))?;
        self.name(&name, &digest)?;
        stored()?.ok_or_else(|| self.unknown_here(&reference))
    }

    async fn pull_now(
        &self,
        address: &Address,
        access: &Access,
        progress: &dyn Progress,
    ) -> Result<Digest, Failed> {
        progress.phase("Asking the registry");
        let registry = Registry::new(address, access, "pull")?;
        let (text, digest) = registry.manifest().await?;
        let manifest = manifest::read(&text)?;
        let config = registry
            .small(&manifest.config.digest, manifest.config.size)
            .await?;
        let config = Config::read(&config)?;
        if self
            .get(&Reference::Digest(config.digest.clone()))?
            .is_some()
        {
            return Ok(config.digest);
        }
        let files = files(&config, &manifest.layers)?;
        fetch::clear_old(&self.folder)?;
        let workspace = self.workspace().await?;
        let out = workspace.folder("out")?;
        self.bring(&registry, &files, &out, progress).await?;
        progress.phase("Storing the image");
        check_disk(&out.join(DISK), &config).await?;
        let stored = self.adopt(&out, description(config, address, digest)).await;
        stored.map_err(|error| match error {
            Error::Mismatch { what, .. } => Failed::There(Problem::Wrong(format!(
                "its {what} is not the one that its config names"
            ))),
            other => Failed::Here(other),
        })
    }

    /// Downloads and unpacks, several files at once.
    async fn bring(
        &self,
        registry: &Registry,
        files: &[File<'_>],
        out: &Path,
        progress: &dyn Progress,
    ) -> Result<(), Failed> {
        progress.phase("Downloading the image");
        let total = files.iter().map(|file| file.layer.size).sum();
        let done = Mutex::new(0);
        let far = |more: u64| {
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            *done += more;
            progress.bytes(*done, Some(total));
        };
        let far = &far;
        let all = files.iter().map(|file| async move {
            let part = Part::named(&self.folder, file.layer.digest.hex()).await?;
            registry.fetch(file.layer, &part, far).await?;
            let (from, to, size) = (part.path().to_owned(), out.join(file.name), file.size);
            let work = tokio::task::spawn_blocking(move || unpack_within(&from, &to, size));
            let unpacked = work.await.map_err(|error| Error::tool("zstd", error))?;
            unpacked.map_err(|error| match error {
                Error::NotADisk { reason, .. } => {
                    Failed::There(Problem::Wrong(format!("its {}: {reason}", file.name)))
                }
                other => Failed::Here(other),
            })?;
            // The blob is what its digest says, whatever is in it.
            part.forget()?;
            Ok::<(), Failed>(())
        });
        futures_util::stream::iter(all)
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await
    }
}

/// Which blob is which file. Names come from the config, which has only those that berth knows.
fn files<'a>(config: &Config, layers: &'a [Blob]) -> Result<Vec<File<'a>>, Problem> {
    let wrong = |words: String| Err(Problem::Wrong(words));
    let count = config.files().count();
    if count != layers.len() {
        return wrong(format!("it has {} layers for {count} files", layers.len()));
    }
    let mut files = Vec::new();
    for ((name, _, size), layer) in config.files().zip(layers) {
        // What does not become smaller becomes hardly larger either (RFC 8878, 3.1.1.2.4).
        if layer.size > size + size / 64 + 1024 {
            return wrong(format!(
                "its {name} is said to be larger packed than unpacked"
            ));
        }
        files.push(File { name, size, layer });
    }
    Ok(files)
}

/// The same checks as of a disk from anywhere: it refers to no other file, and is what it is said to be.
async fn check_disk(disk: &Path, config: &Config) -> Result<(), Failed> {
    let wrong =
        |words: &str| Failed::There(Problem::Wrong(format!("its disk is refused: {words}")));
    let refused = |error| match error {
        Error::NotADisk { reason, .. } => wrong(&reason),
        Error::UnsafeDisk { reason, .. } => wrong(&format!("it refers to another file ({reason})")),
        other => Failed::Here(other),
    };
    if look(disk).map_err(refused)? != Kind::Disk(Format::Qcow2) {
        return Err(wrong("it is no qcow2"));
    }
    let size = inspect(disk, Format::Qcow2).await.map_err(refused)?;
    match config.content.virtual_size == Some(size) {
        true => Ok(()),
        false => Err(wrong("its size is another one than its config says")),
    }
}

fn description(config: Config, address: &Address, manifest: Digest) -> Description {
    Description {
        created: config.created,
        os: config.os,
        recipe: config.recipe,
        // With it, the image would be taken for one that was built here of that recipe.
        recipe_hash: None,
        engine: config.engine,
        user: config.user,
        // By it, the image would be taken for one that was downloaded from there and checked.
        source: None,
        pulled: Some(Pulled {
            from: address.to_string(),
            manifest,
            origin: config.origin,
        }),
        content: config.content,
    }
}
