//! Stored disks in the formats that drivers ask for.

use std::fs;
use std::path::PathBuf;

use berth_driver_api::{BootImage, DiskFormat, Progress};

use crate::lock::{lock, try_lock};
use crate::store::intake::{seal, sync};
use crate::{Error, Image, Reference, Result, Store};

impl Store {
    /// What a driver needs of `image`, with its disk in `format`: see [`Store::disk_as`].
    ///
    /// # Errors
    /// As [`Store::disk_as`].
    pub async fn boot_image(
        &self,
        image: &Image,
        format: DiskFormat,
        progress: &dyn Progress,
    ) -> Result<BootImage> {
        self.disk_as(image, format, progress).await?;
        image.boot_image_as(format)
    }

    /// The disk of `image` as a read-only file of `format`, where [`Image::boot_image_as`] has it. It is made at the
    /// first call, beside the image; of several callers, in any process, one makes it and the others wait. It is
    /// counted in [`Image::size_on_disk`], goes with the image, and has no part in its digest.
    ///
    /// # Errors
    /// [`Error::WrongKind`] for a kernel, [`Error::UnknownImage`] if the image was removed meanwhile, or why `qemu-img`
    /// could not make it.
    pub async fn disk_as(
        &self,
        image: &Image,
        format: DiskFormat,
        progress: &dyn Progress,
    ) -> Result<PathBuf> {
        let place = image.boot_image_as(format)?.disk;
        if place.exists() {
            return Ok(place);
        }
        let name = format!("{}-{}", image.digest.hex(), format.name());
        let path = self.folder.join("locks").join(name);
        let _lock = match try_lock(&path)? {
            Some(lock) => lock,
            None => {
                progress.phase("Waiting for another berth that converts the same disk");
                lock(&path).await?
            }
        };
        if place.exists() {
            return Ok(place);
        }
        if !image.folder().exists() {
            return Err(self.unknown_here(&Reference::Digest(image.digest.clone())));
        }
        progress.phase("Converting the disk");
        let workspace = self.workspace().await?;
        let copy = workspace.folder("work")?.join("disk");
        let stored = image.boot_image()?;
        self.builder
            .convert((&stored.disk, stored.format), (&copy, format))
            .await?;
        seal(&copy)?;
        fs::rename(&copy, &place).map_err(Error::io(&place))?;
        sync(image.folder())?;
        Ok(place)
    }
}
