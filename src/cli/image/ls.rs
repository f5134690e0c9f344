//! `berth image ls`

use anyhow::Result;
use berth_images::Image;
use serde::Serialize;

use crate::cli::output::{self, Format};
use crate::machine::{Berth, Error, show_size};

#[derive(Serialize)]
struct Listed {
    name: String,
    stored: bool,
    digest: Option<String>,
    engine: Option<String>,
    size: Option<u64>,
    disk: Option<u64>,
    created: Option<String>,
    used: Option<String>,
    description: Option<String>,
}

/// Lists what is stored, and what can be built or downloaded.
pub(super) fn list(berth: &Berth, format: &Format) -> Result<()> {
    let catalog = berth.catalog()?;
    let stored = berth.images()?.list().map_err(Error::from)?;
    let mut listed: Vec<Listed> = stored.iter().map(of_image).collect();
    let recipes = catalog.recipes().map(|recipe| {
        let engine = recipe.engine.as_ref().map(|engine| engine.kind.clone());
        (&recipe.name, engine, &recipe.description)
    });
    let clouds = catalog.cloud_images();
    let clouds = clouds.map(|image| (&image.name, None, &image.description));
    for (name, engine, description) in recipes.chain(clouds) {
        if !stored.iter().any(|image| image.names.contains(name)) {
            listed.push(Listed {
                name: name.clone(),
                stored: false,
                digest: None,
                engine,
                size: None,
                disk: None,
                created: None,
                used: None,
                description: Some(description.clone()),
            });
        }
    }
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    format.print(
        &listed,
        |image| image.name.clone(),
        |images| {
            let mut table =
                output::table(["NAME", "STORED", "DIGEST", "ENGINE", "SIZE", "USED", "WHAT"]);
            for image in images {
                let digest = image.digest.as_deref().unwrap_or_default();
                table.add_row([
                    image.name.clone(),
                    if image.stored { "yes" } else { "" }.into(),
                    digest.chars().take("sha256:".len() + 12).collect(),
                    image.engine.clone().unwrap_or_default(),
                    image.size.map(show_size).unwrap_or_default(),
                    // The day is enough for people.
                    image
                        .used
                        .as_deref()
                        .unwrap_or_default()
                        .chars()
                        .take(10)
                        .collect(),
                    image.description.clone().unwrap_or_default(),
                ]);
            }
            table
        },
    )
}

fn of_image(image: &Image) -> Listed {
    let engine = image.engine.as_ref().map(|engine| match &engine.version {
        Some(version) => format!("{} {version}", engine.kind),
        None => engine.kind.clone(),
    });
    Listed {
        name: image.reference.clone(),
        stored: true,
        digest: Some(image.digest.to_string()),
        engine,
        size: Some(image.size_on_disk),
        disk: image.kernel.is_none().then_some(image.virtual_size),
        created: Some(image.created.clone()),
        used: image.used.clone(),
        description: Some(image.os.clone()),
    }
}
