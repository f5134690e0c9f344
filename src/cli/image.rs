//! `berth image`

use std::process::ExitCode;

use anyhow::Result;
use berth_images::{Digest, Image, Reference};
use clap::Subcommand;
use serde::Serialize;

use super::output::{self, Format};
use super::progress::{Screen, print_timings};
use crate::machine::{Berth, Error, show_size};

/// Look at guest images, build and remove them
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Your own recipes lie in ~/.config/berth/recipes/NAME.toml.\n\n\
                        Examples:\n  berth image ls\n  berth image build debian-12\n  berth image rm debian-12"
)]
pub struct Args {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// List the images that are stored and the recipes that can be built
    Ls {
        #[command(flatten)]
        format: Format,
    },
    /// Build images from their recipes; those that are stored already are left as they are
    Build {
        /// Names of recipes
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,

        /// Show where the time went
        #[arg(long)]
        timings: bool,
    },
    /// Print everything that is known of images, as JSON
    Inspect {
        /// Names or digests
        #[arg(required = true, value_name = "REF")]
        references: Vec<String>,

        /// Read all files and compare them with the digest
        #[arg(long)]
        verify: bool,
    },
    /// Remove images that no machine was made of
    Rm {
        /// Names or digests
        #[arg(required = true, value_name = "REF")]
        references: Vec<String>,
    },
}

#[derive(Serialize)]
struct Listed {
    name: String,
    stored: bool,
    digest: Option<String>,
    engine: Option<String>,
    size: Option<u64>,
    disk: Option<u64>,
    created: Option<String>,
    description: Option<String>,
}

/// Carries the subcommand out.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    match &args.command {
        ImageCommand::Ls { format } => list(berth, format)?,
        ImageCommand::Build { names, timings } => build(berth, names, *timings, screen).await?,
        ImageCommand::Inspect { references, verify } => inspect(berth, references, *verify)?,
        ImageCommand::Rm { references } => remove(berth, references)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(berth: &Berth, format: &Format) -> Result<()> {
    let catalog = berth.catalog()?;
    let stored = berth.images()?.list().map_err(Error::from)?;
    let mut listed: Vec<Listed> = stored.iter().map(of_image).collect();
    for recipe in catalog.recipes() {
        if !stored
            .iter()
            .any(|image| image.names.contains(&recipe.name))
        {
            listed.push(Listed {
                name: recipe.name.clone(),
                stored: false,
                digest: None,
                engine: recipe.engine.as_ref().map(|engine| engine.kind.clone()),
                size: None,
                disk: None,
                created: None,
                description: Some(recipe.description.clone()),
            });
        }
    }
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    format.print(
        &listed,
        |image| image.name.clone(),
        |images| {
            let mut table = output::table(["NAME", "STORED", "DIGEST", "ENGINE", "SIZE", "WHAT"]);
            for image in images {
                let digest = image.digest.as_deref().unwrap_or_default();
                table.add_row([
                    image.name.clone(),
                    if image.stored { "yes" } else { "" }.into(),
                    digest.chars().take("sha256:".len() + 12).collect(),
                    image.engine.clone().unwrap_or_default(),
                    image.size.map(show_size).unwrap_or_default(),
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
        description: Some(image.os.clone()),
    }
}

async fn build(berth: &Berth, names: &[String], timings: bool, screen: &Screen) -> Result<()> {
    let store = berth.images()?;
    let catalog = berth.catalog()?;
    // One after the other: a build keeps the disk and a core busy by itself.
    for name in names {
        let task = screen.task(name);
        let reference: Reference = name.parse().map_err(Error::Image)?;
        let image = store
            .ensure(&catalog, &reference, &*task)
            .await
            .map_err(Error::from)?;
        let times = task.finish();
        screen.clear();
        if timings {
            print_timings(name, &times);
        }
        output::line(&image.digest.to_string())?;
    }
    Ok(())
}

fn inspect(berth: &Berth, references: &[String], verify: bool) -> Result<()> {
    let store = berth.images()?;
    let mut images = Vec::new();
    for reference in references {
        let image = berth.stored_image(reference)?;
        if verify {
            store.verify(&image.digest).map_err(Error::from)?;
        }
        images.push(image);
    }
    output::line(&serde_json::to_string_pretty(&images)?)
}

fn remove(berth: &Berth, references: &[String]) -> Result<()> {
    let store = berth.images()?;
    let mut used: Vec<(String, String)> = Vec::new();
    for name in berth.home.machine_names()? {
        // A record that cannot be read may need any image: say so before one is gone.
        let record = berth.record(&name)?;
        for image in record.image.into_iter().chain(record.kernel) {
            used.push((image.digest, name.clone()));
        }
    }
    let in_use = |digest: &Digest| -> Vec<String> {
        let digest = digest.to_string();
        let users = used.iter().filter(|(image, _)| *image == digest);
        users.map(|(_, machine)| machine.clone()).collect()
    };
    for reference in references {
        let parsed: Reference = reference.parse().map_err(Error::Image)?;
        store.remove(&parsed, &in_use).map_err(Error::from)?;
        output::line(reference)?;
    }
    Ok(())
}
