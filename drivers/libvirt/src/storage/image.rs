//! An image's files, where the hypervisor can read them.

use std::fs::File;
use std::path::Path;

use berth_driver_api::{BootImage, Error, Progress, Result};

use super::{Storage, text};
use crate::volume::{self, ImageVolumes};

/// Where the hypervisor finds an image's files.
pub(crate) struct ImageFiles {
    pub(crate) disk: String,
    pub(crate) kernel: Option<String>,
    pub(crate) initrd: Option<String>,
}

impl Storage<'_> {
    /// Sees to it that the hypervisor has the image's files; the image is locked meanwhile.
    ///
    /// # Errors
    /// If they cannot be read or uploaded.
    pub(super) async fn image(
        &self,
        image: &BootImage,
        progress: &dyn Progress,
    ) -> Result<ImageFiles> {
        if self.hypervisor.shares_files() {
            let own = |file: &Path| {
                let path = std::fs::canonicalize(file).map_err(Error::io(file))?;
                text(&path)
            };
            return Ok(ImageFiles {
                disk: own(&image.disk)?,
                kernel: image.kernel.as_deref().map(own).transpose()?,
                initrd: image.initrd.as_deref().map(own).transpose()?,
            });
        }
        let names = ImageVolumes::of(&image.digest)?;
        if self.path_of(&names.complete)?.is_none() {
            progress.phase("Uploading the image");
            let files = [
                (Some(&image.disk), &names.disk),
                (image.kernel.as_ref(), &names.kernel),
                (image.initrd.as_ref(), &names.initrd),
            ];
            for (file, name) in files {
                if let Some(file) = file {
                    let length = std::fs::metadata(file).map_err(Error::io(file))?.len();
                    let source = File::open(file).map_err(Error::io(file))?;
                    self.upload(name, source, length, progress).await?;
                }
            }
            self.make(&volume::plain(&names.complete, 0, self.owner))?;
        }
        let there = |name: &str| {
            self.path_of(name)?.ok_or_else(|| {
                Error::failed(
                    "the uploaded image",
                    format!("its volume {name} is not there"),
                )
            })
        };
        Ok(ImageFiles {
            disk: there(&names.disk)?,
            kernel: image
                .kernel
                .as_ref()
                .map(|_| there(&names.kernel))
                .transpose()?,
            initrd: image
                .initrd
                .as_ref()
                .map(|_| there(&names.initrd))
                .transpose()?,
        })
    }
}
