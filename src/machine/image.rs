//! The image that a machine is made of.

use std::path::Path;

use berth_driver_api::{Info, Progress};
use berth_images::{Image, is_url};

use super::{Berth, Error, Request, Result};

/// Refuses an image that berth did not build where the driver cannot hand over what sets it up. A file that was
/// imported may be one of berth's all the same.
pub(super) fn check(berth: &Berth, request: &Request, info: &Info) -> berth_driver_api::Result<()> {
    let foreign = request.image.as_deref().is_some_and(|image| {
        is_url(image)
            || berth
                .catalog()
                .is_ok_and(|catalog| catalog.cloud_image(image).is_some())
    });
    if info.capabilities.seed || !(foreign || request.cloud_init.is_some()) {
        return Ok(());
    }
    Err(berth_driver_api::Error::Unsupported {
        driver: info.name.clone(),
        what: "set up images by cloud-init: it boots those that berth built".into(),
    })
}

/// The image that is asked for, built or downloaded if it is not stored yet.
///
/// # Errors
/// If it cannot be had, or is no guest's.
pub(super) async fn get(
    berth: &Berth,
    request: &Request,
    progress: &dyn Progress,
) -> Result<Image> {
    let store = berth.images()?;
    let catalog = berth.catalog()?;
    let reference = request.image.as_deref();
    let reference = reference.unwrap_or_else(|| catalog.default_name());
    let digest = request.digest.as_ref();
    if is_url(reference) {
        return Ok(store.fetch(reference, digest, false, progress).await?);
    }
    if reference.contains('/') {
        let path = Path::new(reference);
        return Ok(store.import(path, digest, None, progress).await?);
    }
    if digest.is_some() {
        return Err(Error::BadRequest {
            what: "--digest".into(),
            reason: format!("{reference} is a name; it goes with an address or a path"),
        });
    }
    // Said before it is built.
    if catalog
        .recipe(reference)
        .is_some_and(|recipe| recipe.disk.is_none())
    {
        return Err(Error::Image(berth_images::Error::WrongKind {
            reference: reference.to_owned(),
            is: "a kernel",
            wanted: "a guest's disk",
        }));
    }
    Ok(store
        .ensure(&catalog, &reference.parse()?, progress)
        .await?)
}
