//! Images in the form in which a driver takes them.

use berth_driver_api::{BootImage, Info, Machine, Progress, Silent};
use berth_images::Image;

use super::{Berth, Record, Result};

impl Berth {
    /// The driver's own kernel, built if it is not stored yet; `None` for a driver that boots the images' kernels.
    pub(super) async fn driver_kernel(&self, info: &Info) -> Result<Option<Image>> {
        let Some(name) = &info.needs.kernel else {
            return Ok(None);
        };
        // Silent: it is made while the image is, whose progress is shown.
        let kernel = self
            .images()?
            .ensure(&self.catalog()?, &name.parse()?, &Silent)
            .await?;
        Ok(Some(kernel))
    }

    /// What the driver is given of an image and of its own kernel.
    pub(super) async fn boot_image(
        &self,
        info: &Info,
        image: &Image,
        kernel: Option<&Image>,
        progress: &dyn Progress,
    ) -> Result<BootImage> {
        let mut boot = match info.needs.disk {
            Some(format) => self.images()?.boot_image(image, format, progress).await?,
            None => image.boot_image()?,
        };
        boot.driver_kernel = kernel.map(Image::driver_kernel).transpose()?;
        Ok(boot)
    }

    /// The driver's view of a machine, its image included.
    ///
    /// # Errors
    /// If an image that the machine was made of is no longer stored.
    pub(super) async fn machine(
        &self,
        record: &Record,
        info: &Info,
        progress: &dyn Progress,
    ) -> Result<Machine> {
        let stored = |image: &Option<super::ImageRef>| {
            let image = image.as_ref();
            image
                .map(|image| self.stored_image(&image.digest))
                .transpose()
        };
        let (image, kernel) = (stored(&record.image)?, stored(&record.kernel)?);
        let boot = match &image {
            Some(image) => Some(
                self.boot_image(info, image, kernel.as_ref(), progress)
                    .await?,
            ),
            None => None,
        };
        Ok(self.machine_without_image(record, boot))
    }
}
