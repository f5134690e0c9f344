//! Taking an image into the store: built, described by its digests, and put in its place whole.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use berth_driver_api::{DiskFormat, Progress};

use crate::image::{Content, DESCRIPTION, Description};
use crate::{Checksum, Digest, Engine, Error, HOST_ARCH, Made, Recipe, Result, Store};

impl Store {
    pub(super) async fn build(
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
}

/// Nobody writes to it from now on; a program stays one.
pub(super) fn seal(path: &Path) -> Result<()> {
    let mode = fs::metadata(path)
        .map_err(Error::io(path))?
        .permissions()
        .mode();
    let sealed = fs::Permissions::from_mode(0o444 | (mode & 0o111));
    fs::set_permissions(path, sealed).map_err(Error::io(path))?;
    sync(path)
}

pub(super) fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(Error::io(path))
}
