//! `berth image`

use std::process::ExitCode;

use anyhow::Result;
use berth_images::{Checksum, Digest, Reference};
use clap::Subcommand;

use super::output::{self, Format};
use super::progress::{Screen, print_timings};
use crate::machine::{Berth, Error, template};

mod ls;
mod prune;
mod pull;
mod push;

/// Look at guest images, build, download, push and remove them
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Your own recipes and cloud images lie in ~/.config/berth/recipes/NAME.toml.\n\n\
                        Examples:\n  berth image ls\n  berth image build debian-12\n  berth image pull ubuntu-24.04\n  \
                        berth image push debian-12 ghcr.io/acme/debian:1\n  berth image pull oci://ghcr.io/acme/debian:1\n  \
                        berth image prune --dry-run\n  berth image rm debian-12"
)]
pub struct Args {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// List the images that are stored, and those that can be built or downloaded
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
    /// Download images, or what is newer than the stored ones, and check them against their distributors' signatures and
    /// checksums, or a registry's digests
    #[command(
        after_help = "Examples:\n  berth image pull ubuntu-24.04\n  berth image pull oci://ghcr.io/acme/web:1\n  \
                            berth create web1 --image oci://ghcr.io/acme/web:1\n\n\
                            For a registry that wants to know who asks: `docker login REGISTRY`, or podman's."
    )]
    Pull {
        /// Names of cloud images, addresses of disks, or images in registries as oci://REGISTRY/REPOSITORY[:TAG|@DIGEST]
        #[arg(required = true, value_name = "NAME|URL")]
        names: Vec<String>,

        /// What the disk at an address must be: sha256:… or sha512:…
        #[arg(long, value_name = "DIGEST")]
        digest: Option<Checksum>,

        /// Speak plain HTTP to the registry, as berth does to one on this computer: anybody on the way can read and
        /// change what goes by
        #[arg(long)]
        plain_http: bool,

        /// Show where the time went
        #[arg(long)]
        timings: bool,
    },
    /// Bring a stored image to a registry, for other computers of the same architecture to pull, and print its name there
    /// by digest
    #[command(
        after_help = "It is pushed to whatever keeps container images: Docker Hub, ghcr.io, Harbor, zot, docker's own \
                            registry. Parts that are there already are not sent again.\n\nExamples:\n  \
                            docker login ghcr.io\n  berth image push debian-13-docker ghcr.io/acme/debian:13\n  \
                            berth image push web localhost:5000/web:2026.11"
    )]
    Push {
        /// A stored image's name or digest
        #[arg(value_name = "REF")]
        reference: String,

        /// Where to, as `docker push` has it: REGISTRY/REPOSITORY[:TAG]
        #[arg(value_name = "REGISTRY/REPOSITORY[:TAG]")]
        address: String,

        /// Speak plain HTTP to the registry, as berth does to one on this computer: anybody on the way can read and
        /// change what goes by
        #[arg(long)]
        plain_http: bool,

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
    /// Remove what nothing leads to: images without a name that no machine was made of, and downloads that broke off
    Prune {
        /// Do not ask
        #[arg(short, long)]
        yes: bool,

        /// Only print what would go
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
    },
}

/// Carries the subcommand out.
pub async fn run(berth: &Berth, args: &Args, screen: &Screen) -> Result<ExitCode> {
    match &args.command {
        ImageCommand::Ls { format } => ls::list(berth, format)?,
        ImageCommand::Build { names, timings } => build(berth, names, *timings, screen).await?,
        ImageCommand::Pull {
            names,
            digest,
            plain_http,
            timings,
        } => {
            let access = berth.registries(*plain_http);
            pull::pull(berth, names, digest.as_ref(), &access, *timings, screen).await?;
        }
        ImageCommand::Push {
            reference,
            address,
            plain_http,
            timings,
        } => {
            let access = berth.registries(*plain_http);
            push::push(berth, reference, address, &access, *timings, screen).await?;
        }
        ImageCommand::Prune { yes, dry_run } => return prune::run(berth, *yes, *dry_run),
        ImageCommand::Inspect { references, verify } => inspect(berth, references, *verify)?,
        ImageCommand::Rm { references } => remove(berth, references)?,
    }
    Ok(ExitCode::SUCCESS)
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

/// The digest of each image in use, with the name of what rests on it.
fn users(berth: &Berth) -> Result<Vec<(String, String)>> {
    let mut used = Vec::new();
    for name in berth.home.all_names()? {
        // A record that cannot be read may need any image: say so before one is gone.
        let record = berth.record(&name)?;
        for image in record.image.into_iter().chain(record.kernel) {
            used.push((image.digest, name.clone()));
        }
    }
    for template in template::list(&berth.home)? {
        used.push((
            template.manifest.key.image,
            format!("template {}", template.id),
        ));
    }
    Ok(used)
}

fn made_of(users: &[(String, String)], digest: &Digest) -> Vec<String> {
    let digest = digest.to_string();
    let users = users.iter().filter(|(image, _)| *image == digest);
    users.map(|(_, machine)| machine.clone()).collect()
}

fn remove(berth: &Berth, references: &[String]) -> Result<()> {
    let store = berth.images()?;
    let users = users(berth)?;
    for reference in references {
        let parsed: Reference = reference.parse().map_err(Error::Image)?;
        store
            .remove(&parsed, &|digest| made_of(&users, digest))
            .map_err(Error::from)?;
        output::line(reference)?;
    }
    Ok(())
}
