//! What versions of engines a machine could have.

use std::time::Duration;

use berth_driver_api::Progress;
use futures_util::future::join_all;
use serde::Serialize;

use crate::context::Context;
use crate::facts::Facts;
use crate::family::{self, Source};
use crate::ssh::Session;
use crate::steps::{install, repository};
use crate::wanted::{Channel, Kind, Wanted};
use crate::{Result, Upstream};

/// A machine's engines, as they are and as they could be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Versions {
    /// The engine packages that it has.
    pub installed: Vec<InstalledPackage>,
    /// What it is offered now.
    pub offers: Vec<Offer>,
}

/// An engine's package that is installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstalledPackage {
    /// Of which engine.
    pub engine: Kind,
    /// The package's name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// Whether upgrades of the machine's packages leave it.
    pub held: bool,
    /// `distro` or `upstream`; a static release came by a bundle.
    pub channel: &'static str,
}

/// What a channel offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// Of which engine.
    pub engine: Kind,
    /// `distro` or `upstream`.
    pub channel: &'static str,
    /// Package versions, the newest first.
    pub versions: Vec<String>,
    /// Why they are not known.
    pub error: Option<String>,
}

/// Asks a machine what it has and what its channels offer now. Nothing is changed but its package lists. A channel
/// that does not answer says so in its place.
///
/// # Errors
/// If the machine itself cannot be asked.
pub async fn versions(
    session: &Session,
    upstream: &Upstream,
    progress: &dyn Progress,
) -> Result<Versions> {
    progress.phase("Looking around");
    let facts = Facts::gather(session).await?;
    let family = family::of(&facts.os, session.host())?;
    facts.prefix(session)?;
    let installed = [Kind::Docker, Kind::Podman].into_iter().flat_map(|kind| {
        facts.engine(kind).map(|package| InstalledPackage {
            engine: kind,
            package: package.name.clone(),
            version: package.version.clone(),
            held: package.held,
            channel: install::channel(package),
        })
    });
    let installed = installed.collect();
    progress.phase("Asking the repositories");
    let asked = [
        (Kind::Docker, Source::Distro),
        (Kind::Docker, Source::Upstream),
        (Kind::Podman, Source::Distro),
    ];
    // One after the other where they share lists and their lock; upstream's are looked at beside them.
    let (shared, alone): (Vec<_>, Vec<_>) = asked
        .into_iter()
        .partition(|(_, source)| *source == Source::Distro);
    let offer = async |kind: Kind, source: Source| {
        let wanted = Wanted {
            engine: kind,
            channel: match source {
                Source::Distro => Channel::Distro,
                Source::Upstream => Channel::Upstream,
            },
            upstream: upstream.clone(),
            ..Wanted::default()
        };
        let context = Context {
            session,
            wanted: &wanted,
            progress,
            family,
            facts: facts.clone(),
            bundle: None,
            engine: None,
            // Who only looks does not want to wait.
            patience: Duration::ZERO,
        };
        let (versions, error) = match offered(&context, source).await {
            Ok(versions) => (versions, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        Offer {
            engine: kind,
            channel: source.word(),
            versions,
            error,
        }
    };
    let one_by_one = async {
        let mut offers = Vec::new();
        for (kind, source) in shared {
            offers.push(offer(kind, source).await);
        }
        offers
    };
    let (mut offers, beside) = tokio::join!(
        one_by_one,
        join_all(alone.into_iter().map(|(kind, source)| offer(kind, source)))
    );
    offers.extend(beside);
    Ok(Versions { installed, offers })
}

async fn offered(context: &Context<'_>, source: Source) -> Result<Vec<String>> {
    let family = context.family;
    let kind = context.wanted.engine;
    let script = match source {
        Source::Distro => family.offers_script(kind, source, None),
        Source::Upstream => {
            let repository = repository::of(context)?;
            let key = repository::key(context, &repository).await?;
            family.offers_script(kind, source, Some((&repository, &key)))
        }
    };
    let printed = context
        .packages("listing the engine's versions", &script)
        .await?;
    Ok(family.offered(&printed))
}
