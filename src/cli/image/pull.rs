//! `berth image pull`

use anyhow::Result;
use berth_images::{Access, Checksum, is_in_registry, is_url};

use crate::cli::error::Usage;
use crate::cli::output;
use crate::cli::progress::{Screen, print_timings};
use crate::machine::{Berth, Error};

/// Downloads images, or what is newer than the stored ones.
pub(super) async fn pull(
    berth: &Berth,
    names: &[String],
    digest: Option<&Checksum>,
    access: &Access,
    timings: bool,
    screen: &Screen,
) -> Result<()> {
    let store = berth.images()?;
    let catalog = berth.catalog()?;
    if digest.is_some() && (names.len() > 1 || !names.iter().all(|name| is_url(name))) {
        let words = match names.iter().any(|name| is_in_registry(name)) {
            true => {
                "an image in a registry has its digest in its name: oci://REGISTRY/REPOSITORY@sha256:…"
            }
            false => "--digest goes with one address",
        };
        return Err(Usage(words.into()).into());
    }
    if access.plain_http && !names.iter().all(|name| is_in_registry(name)) {
        return Err(Usage("--plain-http goes with images in registries".into()).into());
    }
    // One after the other: one download fills the line.
    for name in names {
        // What follows a question mark may be secret.
        let shown = name.split('?').next().unwrap_or_default();
        let address = match is_in_registry(name) {
            true => Some(name.parse().map_err(Error::Image)?),
            false => None,
        };
        let task = screen.task(shown);
        let image = if let Some(address) = &address {
            store
                .pull_from_registry(address, access, true, &*task)
                .await
        } else if is_url(name) {
            store.fetch(name, digest, true, &*task).await
        } else if let Some(cloud) = catalog.cloud_image(name) {
            store.pull(cloud, Some(name), &*task).await
        } else if catalog.recipe(name).is_some() {
            let words = format!("{name} is built here: `berth image build {name}`");
            return Err(Usage(words).into());
        } else {
            Err(store.unknown(&catalog, &name.parse().map_err(Error::Image)?))
        };
        let image = image.map_err(Error::from)?;
        let times = task.finish();
        screen.clear();
        if timings {
            print_timings(shown, &times);
        }
        if let Some(source) = &image.source {
            eprintln!("{shown}: checked against {}", source.verified);
        }
        output::line(&image.digest.to_string())?;
    }
    Ok(())
}
