//! Installing the engine's packages.

use async_trait::async_trait;

use super::{Context, Step};
use crate::family::is_version;
use crate::{Error, Result};

pub(super) struct Install;

#[async_trait]
impl Step for Install {
    fn title(&self) -> &'static str {
        "Installing the engine"
    }

    async fn done(&self, context: &Context<'_>) -> Result<bool> {
        let kind = context.wanted.engine;
        let Some(package) = context.facts.engine(kind) else {
            // An engine that runs without a package was put there by someone who knows why.
            return Ok(context.facts.docker_active && context.wanted.version.is_none());
        };
        let Some(wanted) = &context.wanted.version else {
            return Ok(true);
        };
        let fits = is_version(&package.version, wanted);
        if !fits && package.name != context.family.engine_package(kind) {
            return Err(Error::OtherEngine {
                host: context.session.host().to_owned(),
                engine: package.name.clone(),
                found: package.version.clone(),
                wanted: wanted.clone(),
            });
        }
        Ok(fits && package.held)
    }

    async fn run(&self, context: &mut Context<'_>) -> Result<()> {
        let kind = context.wanted.engine;
        let family = context.family;
        let installed = context
            .facts
            .engine(kind)
            .map(|package| package.version.clone());
        let version = match &context.wanted.version {
            Some(wanted)
                if installed
                    .as_ref()
                    .is_some_and(|found| is_version(found, wanted)) =>
            {
                installed
            }
            Some(wanted) => Some(offered(context, wanted).await?),
            None => None,
        };
        context
            .packages("installing the engine", &{
                let mut script = family.install_script(kind, version.as_deref());
                if version.is_some() {
                    script = format!("{{ {script}; }} && {{ {}; }}", family.pin_script(kind));
                }
                script
            })
            .await?;
        // What the packages' own scripts start is looked at again by the steps that follow.
        let looked = crate::facts::Facts::gather(context.session).await?;
        context.facts = looked;
        Ok(())
    }
}

/// The newest package version on offer that is the wanted one.
async fn offered(context: &Context<'_>, wanted: &str) -> Result<String> {
    let kind = context.wanted.engine;
    let script = context.family.offers_script(kind);
    let printed = context
        .packages("listing the engine's versions", &script)
        .await?;
    let offered = context.family.offered(&printed);
    let found = offered
        .iter()
        .find(|version| is_version(version, wanted))
        .cloned();
    found.ok_or_else(|| Error::VersionNotOffered {
        host: context.session.host().to_owned(),
        engine: kind.to_string(),
        wanted: wanted.to_owned(),
        offered,
    })
}
