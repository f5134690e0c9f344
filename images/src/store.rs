//! Where images are kept: a folder an image, named after its content.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_driver_api::{DiskFormat, Progress};

use crate::image::{Content, DESCRIPTION, Description};
use crate::lock::{lock, try_lock};
use crate::workspace::Workspace;
use crate::{
    Builder, Catalog, Checksum, Digest, Engine, Error, HOST_ARCH, Image, Made, Mmdebstrap, Recipe,
    Reference, Result,
};

mod forms;
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

    async fn build(
        &self,
        recipe: &Recipe,
        hash: Digest,
        progress: &dyn Progress,
    ) -> Result<Digest> {
        let workspace = self.workspace().await?;
        let (work, out) = (workspace.folder("work")?, workspace.folder("out")?);
        let built = self
            .builder
            .build(recipe, HOST_ARCH, &work, &out, progress)
            .await?;
        progress.phase("Storing the image");
        let mut content = Content {
            version: 1,
            arch: HOST_ARCH.to_owned(),
            format: None,
            virtual_size: None,
            cmdline: None,
            kernel: None,
            files: Default::default(),
        };
        let mut version = None;
        match built.made {
            Made::Kernel(info) => content.kernel = Some(info),
            Made::Disk {
                virtual_size,
                cmdline,
                engine_version,
            } => {
                content.format = Some(DiskFormat::Qcow2);
                content.virtual_size = Some(virtual_size);
                content.cmdline = Some(cmdline);
                version = engine_version;
            }
        }
        self.adopt(
            &out,
            Description {
                created: jiff::Timestamp::now().to_string(),
                os: built.os,
                recipe: Some(recipe.name.clone()),
                recipe_hash: Some(hash),
                engine: recipe
                    .engine
                    .clone()
                    .map(|engine| Engine { version, ..engine }),
                user: None,
                source: None,
                pulled: None,
                content,
            },
        )
        .await
    }

    /// Takes a finished folder into the store: digests, description, read-only, synced, then renamed into place. Files that
    /// the description names already must be those.
    pub(crate) async fn adopt(&self, out: &Path, mut description: Description) -> Result<Digest> {
        for entry in fs::read_dir(out).map_err(Error::io(out))? {
            let path = entry.map_err(Error::io(out))?.path();
            let hashed = path.clone();
            let digest = tokio::task::spawn_blocking(move || Digest::of_file(&hashed))
                .await
                .map_err(|error| Error::tool("sha256", error))??;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let named = description
                .content
                .files
                .insert(name.clone().into_owned(), digest.clone());
            if let Some(named) = named.filter(|named| *named != digest) {
                return Err(Error::Mismatch {
                    what: name.into_owned(),
                    expected: Checksum::from(&named),
                    found: Checksum::from(&digest),
                });
            }
            seal(&path)?;
        }
        let digest = description.content.digest();
        let path = out.join(DESCRIPTION);
        let text =
            toml::to_string(&description).map_err(|error| Error::recipe(DESCRIPTION, error))?;
        fs::write(&path, text).map_err(Error::io(&path))?;
        seal(&path)?;
        fs::set_permissions(out, fs::Permissions::from_mode(0o755)).map_err(Error::io(out))?;
        sync(out)?;
        let place = self.image_folder(&digest);
        match fs::rename(out, &place) {
            Ok(()) => sync(&self.folder)?,
            // The same content is there already; the older description stays.
            Err(_) if place.exists() => {}
            Err(error) => return Err(Error::io(&place)(error)),
        }
        Ok(digest)
    }

    /// Makes `name` mean `digest`.
    pub(crate) fn name(&self, name: &str, digest: &Digest) -> Result<()> {
        let refs = self.folder.join("refs");
        let path = self.name_file(name);
        if self.target(name)?.as_ref() == Some(digest) {
            return Ok(());
        }
        let mut file = tempfile::Builder::new()
            // Not a name that a reference can have.
            .prefix(".new-")
            .tempfile_in(&refs)
            .map_err(Error::io(&refs))?;
        io::Write::write_all(&mut file, format!("{digest}\n").as_bytes())
            .map_err(Error::io(&path))?;
        file.as_file().sync_all().map_err(Error::io(&path))?;
        file.persist(&path)
            .map_err(|error| Error::io(&path)(error.error))?;
        sync(&refs)
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

    /// Where a name's digest is.
    fn name_file(&self, name: &str) -> PathBuf {
        // No name has a % in it.
        self.folder.join("refs").join(name.replace('/', "%"))
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

    fn target(&self, name: &str) -> Result<Option<Digest>> {
        let path = self.name_file(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Digest::try_from(text.trim().to_owned()).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(&path)(error)),
        }
    }

    /// Every name in the store with its digest, sorted.
    fn names(&self) -> Result<Vec<(String, Digest)>> {
        let refs = self.folder.join("refs");
        let mut names = Vec::new();
        for entry in fs::read_dir(&refs).map_err(Error::io(&refs))? {
            let entry = entry.map_err(Error::io(&refs))?;
            let Some(name) = entry
                .file_name()
                .to_str()
                .map(|name| name.replace('%', "/"))
            else {
                continue;
            };
            // What is in another form than names are has no part in this.
            if matches!(name.parse(), Ok(Reference::Name(parsed)) if parsed == name)
                && let Some(digest) = self.target(&name)?
            {
                names.push((name, digest));
            }
        }
        names.sort();
        Ok(names)
    }

    /// What to say of a reference that means nothing that is stored, with the stored names that look like it.
    pub fn unknown_here(&self, reference: &Reference) -> Error {
        nearest::unknown(
            reference,
            self.names()
                .unwrap_or_default()
                .into_iter()
                .map(|(name, _)| name),
        )
    }

    /// What to say of a reference that means nothing here, with the names that look like it.
    pub fn unknown(&self, catalog: &Catalog, reference: &Reference) -> Error {
        let stored = self
            .names()
            .unwrap_or_default()
            .into_iter()
            .map(|(name, _)| name);
        nearest::unknown(reference, stored.chain(catalog.names().map(str::to_owned)))
    }
}

/// Nobody writes to it from now on; a program stays one.
fn seal(path: &Path) -> Result<()> {
    let mode = fs::metadata(path)
        .map_err(Error::io(path))?
        .permissions()
        .mode();
    let sealed = fs::Permissions::from_mode(0o444 | (mode & 0o111));
    fs::set_permissions(path, sealed).map_err(Error::io(path))?;
    sync(path)
}

fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(Error::io(path))
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
