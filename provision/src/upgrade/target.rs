//! Finding out what is to be installed, and whether all that an upgrade needs is there.

use crate::bundle::Bundle;
use crate::context::Context;
use crate::facts::RELEASE;
use crate::family::{Source, is_version};
use crate::steps::install::BY_BUNDLE;
use crate::steps::{install, repository};
use crate::wanted::{Channel, Version};
use crate::{Error, Result};

use super::before::{self, Before};
use super::health;
use super::plan::Plan;

/// What must be free below /var: the new packages, the old ones, and both unpacked.
const SPACE: u64 = 700 << 20;

/// What is to be installed.
pub(super) struct Target {
    pub(super) version: Version,
    pub(super) channel: Channel,
    pub(super) bundle: Option<Bundle>,
    /// The folder of the machine's where its packages are kept since the last upgrade.
    pub(super) kept: Option<&'static str>,
}

/// Looks at everything that an upgrade needs.
pub(super) async fn make(context: &mut Context<'_>) -> Result<(Plan, Target)> {
    make_to(context, None).await
}

/// Looks at everything that an upgrade needs, to what was there before the `last` one if that is said.
async fn make_to(context: &mut Context<'_>, last: Option<Plan>) -> Result<(Plan, Target)> {
    let kind = context.wanted.engine;
    let host = context.session.host().to_owned();
    let Some(package) = context.facts.engine(kind).cloned() else {
        return Err(Error::NothingToUpgrade {
            host,
            engine: kind.to_string(),
        });
    };
    space(context).await?;
    let engine = super::answer(context).await?;
    let running = health::running(context, &engine).await?;
    let bundle = open(context).await?;
    let to_release = match &last {
        Some(last) => last.from_channel == BY_BUNDLE,
        None => bundle.as_ref().is_some_and(Bundle::is_programs),
    };
    if to_release != (package.name == RELEASE) {
        return Err(Error::Unsupported(
            "upgrading from a static release to packages or the other way, since it could not be put back,"
                .into(),
        ));
    }
    let (to, kept) = match last {
        Some(last) => (last.from, Some(before::PREVIOUS_PACKAGES)),
        None => target(context, bundle.as_ref()).await?,
    };
    let held = match context.wanted.version {
        Version::Pinned(_) => true,
        Version::Latest => false,
        Version::Any => package.held,
    };
    let plan = Plan {
        from_channel: install::channel(&package).to_owned(),
        from: package.version,
        to: to.clone(),
        channel: context.wanted.channel.to_string(),
        held,
        was_held: package.held,
        containers: running
            .into_iter()
            .map(|container| container.name)
            .collect(),
    };
    let target = Target {
        version: Version::Pinned(to),
        channel: context.wanted.channel.clone(),
        bundle,
        kept,
    };
    Ok((plan, target))
}

/// Looks at everything that going back to what was there before the last upgrade needs.
pub(super) async fn back(context: &mut Context<'_>, version: &str) -> Result<(Plan, Target)> {
    let package = context.facts.engine(context.wanted.engine).cloned();
    if let Some(package) = package.filter(|package| package.version == version) {
        super::answer(context).await?;
        let plan = Plan {
            from: package.version.clone(),
            from_channel: install::channel(&package).to_owned(),
            to: package.version,
            channel: context.wanted.channel.to_string(),
            held: package.held,
            was_held: package.held,
            containers: Vec::new(),
        };
        let target = Target {
            version: Version::Pinned(plan.to.clone()),
            channel: context.wanted.channel.clone(),
            bundle: None,
            kept: None,
        };
        return Ok((plan, target));
    }
    match Before::last(context).await? {
        Some(last) if last.from == version => {
            let (plan, target) = make_to(context, Some(last.clone())).await?;
            let held = last.was_held;
            Ok((Plan { held, ..plan }, target))
        }
        other => Err(Error::VersionNotOffered {
            host: context.session.host().to_owned(),
            engine: context.wanted.engine.to_string(),
            wanted: version.to_owned(),
            offered: other.into_iter().map(|last| last.from).collect(),
        }),
    }
}

impl Target {
    /// The target of an upgrade that broke off.
    pub(super) async fn again(context: &mut Context<'_>, plan: &Plan) -> Result<Self> {
        let bundle = open(context).await?;
        let last = Before::last(context).await?;
        Ok(Target {
            version: Version::Pinned(plan.to.clone()),
            channel: context.wanted.channel.clone(),
            kept: last
                .filter(|last| last.from == plan.to && bundle.is_none())
                .map(|_| before::PREVIOUS_PACKAGES),
            bundle,
        })
    }
}

async fn open(context: &Context<'_>) -> Result<Option<Bundle>> {
    let Channel::Bundle(path) = &context.wanted.channel else {
        return Ok(None);
    };
    let wanted = context.wanted;
    let bundle = Bundle::open(path).await?;
    let (host, arch) = (context.session.host(), &context.facts.arch);
    bundle.check(host, context.family, arch, wanted.engine, &wanted.version)?;
    Ok(Some(bundle))
}

/// The package version that is wanted, and where it lies if the machine has kept it.
async fn target(
    context: &Context<'_>,
    bundle: Option<&Bundle>,
) -> Result<(String, Option<&'static str>)> {
    let (family, kind) = (context.family, context.wanted.engine);
    if let Some(bundle) = bundle {
        let version = bundle.version(family, kind);
        return version
            .map(|version| (version, None))
            .ok_or_else(|| Error::VersionNotOffered {
                host: context.session.host().to_owned(),
                engine: kind.to_string(),
                wanted: "any".into(),
                offered: Vec::new(),
            });
    }
    let wanted = match &context.wanted.version {
        Version::Pinned(version) => Some(version.as_str()),
        Version::Any | Version::Latest => None,
    };
    if let Some(wanted) = wanted
        && let Some(last) = Before::last(context).await?
        && is_version(&last.from, wanted)
        // The same version of another channel is not what was asked for.
        && last.from_channel == context.wanted.channel.to_string()
    {
        return Ok((last.from, Some(before::PREVIOUS_PACKAGES)));
    }
    let offered = match context.wanted.channel {
        Channel::Upstream => {
            let repository = repository::of(context)?;
            let key = repository::key(context, &repository).await?;
            let elsewhere = Some((&repository, &*key));
            install::offered(context, Source::Upstream, elsewhere, wanted).await
        }
        _ => install::offered(context, Source::Distro, None, wanted).await,
    };
    offered.map(|version| (version, None))
}

async fn space(context: &Context<'_>) -> Result<()> {
    let script = "df -Pk /var | tail -n 1";
    let output = context.run_root("looking for room", script).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let free = text.split_ascii_whitespace().nth(3);
    let Some(free) = free.and_then(|word| word.parse::<u64>().ok()) else {
        return Ok(());
    };
    match free << 10 {
        free if free < SPACE => Err(Error::LittleSpace {
            host: context.session.host().to_owned(),
            free,
            needed: SPACE,
        }),
        _ => Ok(()),
    }
}
