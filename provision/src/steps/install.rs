//! Installing the engine's packages.

use async_trait::async_trait;

use super::{Context, Step, deliver};
use crate::bundle::{self, Bundle};
use crate::facts::{Facts, Package, RELEASE};
use crate::family::{Repository, Source, is_version, without_epoch};
use crate::wanted::{Channel, Version};
use crate::{Error, Result};

pub(crate) struct Install;

#[async_trait]
impl Step for Install {
    fn title(&self) -> &'static str {
        "Installing the engine"
    }

    async fn done(&self, context: &Context<'_>) -> Result<bool> {
        let wanted = context.wanted;
        let Some(package) = context.facts.engine(wanted.engine) else {
            // An engine that runs without a package was put there by someone who knows why.
            let active = context.facts.service(wanted.engine).active;
            return Ok(active && wanted.version == Version::Any);
        };
        let there = !wanted.replace || is_of(context, package);
        let other = |version: &str| Error::OtherEngine {
            host: context.session.host().to_owned(),
            engine: package.name.clone(),
            found: package.version.clone(),
            channel: wanted.channel.to_string(),
            wanted: version.to_owned(),
        };
        match &wanted.version {
            Version::Any => Ok(there),
            // What a bundle has does not change; what a repository has does.
            Version::Latest if matches!(wanted.channel, Channel::Bundle(_)) => Ok(there),
            Version::Latest if there && !is_of(context, package) => Err(other("its latest")),
            Version::Latest => Ok(false),
            Version::Pinned(version) if is_version(&package.version, version) => {
                Ok(there && package.held)
            }
            Version::Pinned(version) if there && !is_of(context, package) => Err(other(version)),
            Version::Pinned(_) => Ok(false),
        }
    }

    async fn run(&self, context: &mut Context<'_>) -> Result<()> {
        if is_only_to_be_held(context) {
            let pin = context.family.pin_script(context.wanted.engine);
            context
                .packages("holding the engine's version", &pin)
                .await?;
            let looked = Facts::gather(context.session).await?;
            context.facts = looked;
            return Ok(());
        }
        let mut folder = None;
        let mut script = match (&context.wanted.channel, &context.bundle) {
            (Channel::Upstream, _) => of_source(context, Source::Upstream).await?,
            (Channel::Bundle(_), Some(bundle)) => {
                let folder = folder.insert(deliver::send(context, bundle).await?);
                bundle.install_script(context.family, folder)
            }
            _ => of_source(context, Source::Distro).await?,
        };
        let family = context.family;
        let kind = context.wanted.engine;
        let released = context
            .facts
            .engine(kind)
            .is_some_and(|package| package.name == RELEASE);
        let bundle = context.bundle.as_ref();
        let to_packages = !bundle.is_some_and(Bundle::is_programs);
        if released && to_packages {
            script = format!("{{ {}; }}; {script}", bundle::remove_script());
        }
        if to_packages {
            // What holds a version would hold it against us too.
            script = format!("{{ {}; }}; ( {script} )", family.unpin_script(kind));
        }
        if to_packages && matches!(context.wanted.version, Version::Pinned(_)) {
            script = format!("{script} && {{ {}; }}", family.pin_script(kind));
        }
        let installed = context.packages("installing the engine", &script).await;
        if let Some(folder) = folder {
            deliver::remove(context, &folder).await;
        }
        installed?;
        // What the packages' own scripts start is looked at again by the steps that follow.
        let looked = Facts::gather(context.session).await?;
        context.facts = looked;
        Ok(())
    }
}

/// True if the engine is the wanted one already, but for upgrades of other packages.
fn is_only_to_be_held(context: &Context<'_>) -> bool {
    let wanted = context.wanted;
    let Version::Pinned(version) = &wanted.version else {
        return false;
    };
    context.facts.engine(wanted.engine).is_some_and(|package| {
        is_version(&package.version, version) && (!wanted.replace || is_of(context, package))
    })
}

/// True if a package came by the wanted channel, as far as can be told.
fn is_of(context: &Context<'_>, package: &Package) -> bool {
    match &context.wanted.channel {
        Channel::Distro => source(package) == Some(Source::Distro),
        Channel::Upstream => source(package) == Some(Source::Upstream),
        Channel::Bundle(_) => {
            let version = context
                .bundle
                .as_ref()
                .and_then(|bundle| bundle.version(context.family, context.wanted.engine));
            // Not all files' names tell the epoch.
            version
                .is_some_and(|version| without_epoch(&version) == without_epoch(&package.version))
        }
    }
}

/// Where a package is from, by its name; `None` for a static release.
pub(crate) fn source(package: &Package) -> Option<Source> {
    match package.name.as_str() {
        RELEASE => None,
        "docker-ce" => Some(Source::Upstream),
        _ => Some(Source::Distro),
    }
}

/// The channel of a static release, which has no package.
pub(crate) const BY_BUNDLE: &str = "bundle";

/// The channel that a package came by, as far as its name tells.
pub(crate) fn channel(package: &Package) -> &'static str {
    match source(package) {
        Some(source) => source.word(),
        None => BY_BUNDLE,
    }
}

async fn of_source(context: &Context<'_>, source: Source) -> Result<String> {
    let kind = context.wanted.engine;
    let version = match &context.wanted.version {
        Version::Pinned(wanted) => Some(offered(context, source, None, Some(wanted)).await?),
        Version::Any | Version::Latest => None,
    };
    Ok(context
        .family
        .install_script(kind, source, version.as_deref()))
}

/// The newest package version on offer, or the newest of those that are the wanted one.
pub(crate) async fn offered(
    context: &Context<'_>,
    source: Source,
    elsewhere: Option<(&Repository, &str)>,
    wanted: Option<&str>,
) -> Result<String> {
    let kind = context.wanted.engine;
    let script = context.family.offers_script(kind, source, elsewhere);
    let printed = context
        .packages("listing the engine's versions", &script)
        .await?;
    let offered = context.family.offered(&printed);
    let found = offered
        .iter()
        .find(|version| wanted.is_none_or(|wanted| is_version(version, wanted)))
        .cloned();
    found.ok_or_else(|| Error::VersionNotOffered {
        host: context.session.host().to_owned(),
        engine: kind.to_string(),
        wanted: wanted.unwrap_or("any").to_owned(),
        offered,
    })
}
