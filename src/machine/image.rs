//! The image that a machine is made of.

use std::path::Path;

use berth_driver_api::{Info, Progress};
use berth_images::{Catalog, Image, is_in_registry, is_url};

use super::{Berth, CloudInit, Error, Request, Result};

/// Refuses wishes that do not go together, before an image is built or downloaded for them.
///
/// # Errors
/// [`Error::BadRequest`].
pub(super) fn check_wishes(berth: &Berth, request: &Request) -> Result<()> {
    let catalog = berth.catalog()?;
    let reference = reference(request, &catalog);
    let bad = |what: &str, reason: &str| {
        Err(Error::BadRequest {
            what: what.to_owned(),
            reason: format!("{reference} {reason}"),
        })
    };
    if request.digest.is_some() && is_in_registry(reference) {
        return bad(
            "--digest",
            "has its digest in its name: oci://REGISTRY/REPOSITORY@sha256:…",
        );
    }
    if request.digest.is_some() && !is_url(reference) && !reference.contains('/') {
        return bad("--digest", "is a name; it goes with an address or a path");
    }
    if request.cloud_init.is_some() && catalog.recipe(reference).is_some() {
        return bad(
            "--cloud-init",
            "is an image of berth's, which has no cloud-init",
        );
    }
    Ok(())
}

/// Refuses a request for an image that berth did not build where the driver cannot hand over what sets it up. A file
/// that is imported may be one of berth's all the same.
pub(super) fn check_driver(
    berth: &Berth,
    request: &Request,
    info: &Info,
) -> berth_driver_api::Result<()> {
    if !info.capabilities.images {
        return Ok(());
    }
    let foreign = berth.catalog().is_ok_and(|catalog| {
        let reference = reference(request, &catalog);
        is_url(reference) || catalog.cloud_image(reference).is_some()
    });
    match info.capabilities.seed || !(foreign || request.cloud_init.is_some()) {
        true => Ok(()),
        false => Err(no_seed(info)),
    }
}

/// How cloud-init sets up machines of `image` by this driver; `None` where credentials do.
///
/// # Errors
/// If nothing could.
pub(super) fn cloud_init(
    image: &Image,
    request: &Request,
    info: &Info,
) -> berth_driver_api::Result<Option<CloudInit>> {
    match &image.user {
        Some(user) if info.capabilities.seed => Ok(Some(CloudInit {
            user: user.clone(),
            credentials: !image.is_distributors(),
        })),
        Some(_) if image.is_distributors() => Err(no_seed(info)),
        None if request.cloud_init.is_some() => Err(berth_driver_api::Error::failed(
            "--cloud-init",
            format!(
                "{} is an image of berth's, which has no cloud-init",
                image.reference
            ),
        )),
        _ => Ok(None),
    }
}

/// What is built on this computer for a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Builds {
    /// Its image.
    pub image: bool,
    /// The kernel that its driver boots in place of the image's.
    pub kernel: bool,
}

/// What would be built for this request now; the rest is stored, downloaded or imported.
///
/// # Errors
/// If the stored images or the recipes cannot be read.
pub fn builds(berth: &Berth, request: &Request, info: &Info) -> Result<Builds> {
    let catalog = berth.catalog()?;
    let store = berth.images()?;
    let builds = |reference: &str| -> Result<bool> {
        // An address or a path is no reference.
        let Ok(reference) = reference.parse() else {
            return Ok(false);
        };
        Ok(store.to_build(&catalog, &reference)?.is_some())
    };
    Ok(Builds {
        image: builds(reference(request, &catalog))?,
        kernel: match &info.needs.kernel {
            Some(kernel) => builds(kernel)?,
            None => false,
        },
    })
}

fn no_seed(info: &Info) -> berth_driver_api::Error {
    berth_driver_api::Error::Unsupported {
        driver: info.name.clone(),
        what: "set up images by cloud-init: it boots those that berth built".into(),
    }
}

fn reference<'a>(request: &'a Request, catalog: &'a Catalog) -> &'a str {
    request.image.as_deref().unwrap_or(catalog.default_name())
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
    let reference = reference(request, &catalog);
    let digest = request.digest.as_ref();
    if is_in_registry(reference) {
        let (address, access) = (reference.parse()?, berth.registries(false));
        return Ok(store
            .pull_from_registry(&address, &access, false, progress)
            .await?);
    }
    if is_url(reference) {
        return Ok(store.fetch(reference, digest, false, progress).await?);
    }
    if reference.contains('/') {
        let path = Path::new(reference);
        return Ok(store.import(path, digest, None, progress).await?);
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
