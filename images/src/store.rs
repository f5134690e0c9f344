//! Where images are kept: a folder an image, named after its content.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use berth_driver_api::Progress;

use crate::lock::{lock, try_lock};
use crate::workspace::Workspace;
use crate::{
    Builder, Catalog, Digest, Error, HOST_ARCH, Image, Mmdebstrap, Recipe, Reference, Result,
};

mod forms;
mod intake;
mod names;
mod nearest;

/// The images of one berth home. Any number of processes may use it at once.
///
/// Layout: `sha256-HEX/{image.toml,disk.qcow2,vmlinux or vmlinuz,initrd}` (a kernel's image has others), `refs/NAME` with a
/// digest in it (a slash in the name of an image in a registry is a `%` there), `locks/`, `tmp/` with downloads that are not whole yet. `sha256-HEX/used` has the time of the image's last
/// use.
#[derive(Clone)]
pub struct Store {
    pub(crate) folder: PathBuf,
    builder: Arc<dyn Builder>,
}

impl Store {
    /// Opens the store in `folder`, and makes it if there is none.
    ///
    /// # Errors
    /// If its folders cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        Store::with_builder(folder, Arc::new(Mmdebstrap))
    }

    /// As [`Store::open`], with another way to build.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn with_builder(folder: &Path, builder: Arc<dyn Builder>) -> Result<Self> {
        for name in ["refs", "locks", "tmp"] {
            let path = folder.join(name);
            fs::create_dir_all(&path).map_err(Error::io(&path))?;
        }
        let folder = folder.canonicalize().map_err(Error::io(folder))?;
        Ok(Store { folder, builder })
    }

    /// All images, by name. A damaged one is left out, and said so in the log.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn list(&self) -> Result<Vec<Image>> {
        let names = self.names()?;
        let mut images = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(Error::io(&self.folder))? {
            let entry = entry.map_err(Error::io(&self.folder))?;
            let file_name = entry.file_name();
            let Some(digest) = file_name
                .to_str()
                .and_then(|name| name.strip_prefix("sha256-"))
                .and_then(Digest::from_hex)
            else {
                continue;
            };
            match self.read(&digest, &names) {
                Ok(image) => images.push(image),
                // Removed since the folder was listed, or not ours to show.
                Err(error) => tracing::warn!("{error}"),
            }
        }
        images.sort_by(|a, b| (&a.reference, &a.digest).cmp(&(&b.reference, &b.digest)));
        Ok(images)
    }

    /// The stored image that `reference` means; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is there but incomplete.
    pub fn get(&self, reference: &Reference) -> Result<Option<Image>> {
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Name(name) => match self.target(name)? {
                Some(digest) => digest,
                None => return Ok(None),
            },
        };
        if !self.image_folder(&digest).exists() {
            return Ok(None);
        }
        let mut image = self.read(&digest, &self.names()?)?;
        image.reference = reference.to_string();
        Ok(Some(image))
    }

    /// The image that `reference` means, built of its recipe if it is not there yet, or if the recipe has changed since;
    /// a cloud image is downloaded if it is not there yet, and [`Store::pull`] looks for a newer one. Of several
    /// callers, in any process, one does the work; the others wait for it.
    ///
    /// # Errors
    /// [`Error::UnknownImage`], or why it could not be built or downloaded.
    pub async fn ensure(
        &self,
        catalog: &Catalog,
        reference: &Reference,
        progress: &dyn Progress,
    ) -> Result<Image> {
        let recipe = match reference {
            Reference::Name(name) => catalog.recipe(name),
            Reference::Digest(_) => None,
        };
        if let Reference::Name(name) = reference
            && let Some(image) = catalog.cloud_image(name)
        {
            return match self.get(reference)? {
                Some(image) => Ok(image),
                None => self.pull(image, Some(name), progress).await,
            };
        }
        let Some(recipe) = recipe else {
            return self
                .get(reference)?
                .ok_or_else(|| self.unknown(catalog, reference));
        };
        let hash = recipe.hash(HOST_ARCH)?;
        let wanted = |image: &Image| image.recipe_hash.as_ref() == Some(&hash);
        if let Ok(Some(image)) = self.get(reference)
            && wanted(&image)
        {
            return Ok(image);
        }
        let path = self.folder.join("locks").join(hash.hex());
        let _lock = match try_lock(&path)? {
            Some(lock) => lock,
            None => {
                progress.phase("Waiting for another berth that builds the same image");
                lock(&path).await?
            }
        };
        let digest = match self.list()?.into_iter().find(wanted) {
            Some(image) => image.digest,
            None => self.build(recipe, hash.clone(), progress).await?,
        };
        self.name(&recipe.name, &digest)?;
        self.name(&reference.to_string(), &digest)?;
        self.get(reference)?
            .ok_or_else(|| self.unknown(catalog, reference))
    }

    /// The recipe by which [`Store::ensure`] would build the image; `None` if it is stored, or is not built.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn to_build<'a>(
        &self,
        catalog: &'a Catalog,
        reference: &Reference,
    ) -> Result<Option<&'a Recipe>> {
        let Reference::Name(name) = reference else {
            return Ok(None);
        };
        let Some(recipe) = catalog.recipe(name) else {
            return Ok(None);
        };
        let hash = recipe.hash(HOST_ARCH)?;
        let mut stored = self.list()?.into_iter();
        let stored = stored.any(|image| image.recipe_hash.as_ref() == Some(&hash));
        Ok((!stored).then_some(recipe))
    }

    /// Removes a name, and the image with its last name. `in_use` tells which machines are made of an image.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::UnknownImage`].
    pub fn remove(
        &self,
        reference: &Reference,
        in_use: &dyn Fn(&Digest) -> Vec<String>,
    ) -> Result<()> {
        let digest = match reference {
            Reference::Digest(digest) => {
                Some(digest.clone()).filter(|d| self.image_folder(d).exists())
            }
            Reference::Name(name) => self.target(name)?,
        };
        let digest = digest.ok_or_else(|| self.unknown_here(reference))?;
        let names = self.names()?;
        let goes = |name: &str| match reference {
            Reference::Name(wanted) => name == wanted,
            Reference::Digest(_) => true,
        };
        let (going, staying): (Vec<_>, Vec<_>) = names
            .iter()
            .filter(|(_, target)| *target == digest)
            .map(|(name, _)| name.clone())
            .partition(|name| goes(name));
        let machines = in_use(&digest);
        if staying.is_empty() && !machines.is_empty() {
            return Err(Error::InUse {
                reference: reference.to_string(),
                machines,
            });
        }
        for name in going {
            let path = self.name_file(&name);
            remove_if_there(&path)?;
        }
        if staying.is_empty() {
            self.discard(&digest)?;
        }
        Ok(())
    }

    /// Reads all of an image and compares it with its digests.
    ///
    /// # Errors
    /// [`Error::Damaged`] naming the file that differs.
    pub fn verify(&self, digest: &Digest) -> Result<()> {
        if !self.image_folder(digest).exists() {
            return Err(self.unknown_here(&Reference::Digest(digest.clone())));
        }
        self.read(digest, &[])?.verify()
    }

    pub(crate) async fn workspace(&self) -> Result<Workspace> {
        Workspace::new(&self.folder.join("tmp")).await
    }

    pub(crate) fn discard(&self, digest: &Digest) -> Result<()> {
        let place = self.image_folder(digest);
        // Renamed first, so that half an image is never found.
        let grave =
            tempfile::tempdir_in(self.folder.join("tmp")).map_err(Error::io(&self.folder))?;
        let target = grave.path().join("image");
        fs::rename(&place, &target).map_err(Error::io(&place))?;
        fs::remove_dir_all(&target).map_err(Error::io(&target))
    }

    fn image_folder(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("sha256-{}", digest.hex()))
    }

    fn read(&self, digest: &Digest, names: &[(String, Digest)]) -> Result<Image> {
        let own = names
            .iter()
            .filter(|(_, target)| target == digest)
            .map(|(name, _)| name.clone());
        Image::read(&self.image_folder(digest), digest, own.collect())
    }
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
