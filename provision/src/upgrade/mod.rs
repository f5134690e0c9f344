//! Changing the version of an engine that is in use, up or down, and putting the old one back when the new one is not
//! well.
//!
//! What was there before is written down in the machine itself before anything is changed, packages and all (see
//! [`before`]): an upgrade that broke off can be finished or taken back from any computer, without a network.

mod before;
mod health;
mod plan;
mod restarting;
mod target;

use std::future::Future;
use std::pin::Pin;

use berth_driver_api::Progress;

use crate::context::Context;
use crate::facts::Facts;
use crate::ssh::Session;
use crate::steps::{self, Step};
use crate::wanted::{Channel, EngineInfo, Version, Wanted};
use crate::{Error, Result};

use before::Before;
pub use plan::Plan;
use target::Target;

/// What a user's own check says: nothing, or why the upgrade is no good.
pub type Verdict = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// What the caller has to say while an upgrade is under way.
pub struct Watch<'a> {
    /// Where it is told of.
    pub progress: &'a dyn Progress,
    /// Called with the title of each step before it is carried out.
    pub on_step: &'a (dyn Fn(&str) + Send + Sync),
    /// The package version that it has to be, where others rely on what was planned before.
    pub exactly: Option<&'a str>,
    /// The user's own check of the upgraded machine, if there is one.
    pub gate: Option<&'a (dyn Fn() -> Verdict + Send + Sync)>,
}

/// How an upgrade ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgraded {
    /// What was to be done.
    pub plan: Plan,
    /// The engine as it answers now.
    pub engine: EngineInfo,
}

impl Watch<'_> {
    fn step(&self, title: &str) {
        self.progress.phase(title);
        (self.on_step)(title);
    }

    fn agrees(&self, context: &Context<'_>, plan: &Plan) -> Result<()> {
        match self.exactly {
            Some(exactly) if exactly != plan.to => Err(Error::VersionNotOffered {
                host: context.session.host().to_owned(),
                engine: context.wanted.engine.to_string(),
                wanted: exactly.to_owned(),
                offered: vec![plan.to.clone()],
            }),
            _ => Ok(()),
        }
    }
}

/// Looks whether an engine can be upgraded to what is wanted, and tells what that would do. Changes nothing but the
/// machine's package lists.
///
/// # Errors
/// What stands in the way, such as [`Error::LittleSpace`] or [`Error::Unhealthy`].
pub async fn plan(session: &Session, wanted: &Wanted, progress: &dyn Progress) -> Result<Plan> {
    let mut context = Context::look(session, wanted, progress).await?;
    progress.phase("Checking what is there");
    if let Some(before) = Before::read(&context).await? {
        return Ok(before.plan);
    }
    target::make(&mut context).await.map(|(plan, _)| plan)
}

/// Brings a machine's engine to another version, keeps its containers running meanwhile where the engine can, checks
/// that all is well, and otherwise puts the old version back. One that broke off goes on; what `wanted` says of the
/// version and the channel must be what it said then.
///
/// # Errors
/// [`Error::RolledBack`] if the old version is there again and well; [`Error::NotRolledBack`] if it is not: then both
/// this and [`roll_back`] can be tried again. Anything else before something was changed.
pub async fn upgrade(session: &Session, wanted: &Wanted, watch: &Watch<'_>) -> Result<Upgraded> {
    let mut context = Context::look(session, wanted, watch.progress).await?;
    watch.step("Checking what is there");
    let (before, target) = match Before::read(&context).await? {
        Some(before) => {
            before.must_be_for(&context)?;
            watch.agrees(&context, &before.plan)?;
            let target = Target::again(&mut context, &before.plan).await?;
            (before, target)
        }
        None => {
            let (plan, target) = target::make(&mut context).await?;
            watch.agrees(&context, &plan)?;
            if plan.is_done() {
                // It was asked for the plan.
                let engine = answered(&context)?;
                return Ok(Upgraded { plan, engine });
            }
            watch.step("Keeping what is there");
            let before = Before::keep(&context, plan).await?;
            (before, target)
        }
    };
    carry_out(&context, before, target, watch).await
}

/// Brings a machine's engine back to what it had before the last upgrade, from the packages that the machine has kept:
/// no network is needed. One that broke off goes on.
///
/// # Errors
/// [`Error::VersionNotOffered`] if `version` is not what the machine has kept; as [`upgrade`].
pub async fn go_back(
    session: &Session,
    wanted: &Wanted,
    version: &str,
    watch: &Watch<'_>,
) -> Result<Upgraded> {
    let wanted = Wanted {
        version: Version::Pinned(version.to_owned()),
        // What is kept comes from nowhere else.
        channel: Channel::Distro,
        ..wanted.clone()
    };
    let mut context = Context::look(session, &wanted, watch.progress).await?;
    watch.step("Checking what is there");
    let (before, target) = match Before::read(&context).await? {
        Some(before) => {
            before.must_be_for(&context)?;
            let target = Target::again(&mut context, &before.plan).await?;
            (before, target)
        }
        None => {
            let (plan, target) = target::back(&mut context, version).await?;
            if plan.is_done() {
                let engine = answered(&context)?;
                return Ok(Upgraded { plan, engine });
            }
            watch.step("Keeping what is there");
            let before = Before::keep(&context, plan).await?;
            (before, target)
        }
    };
    carry_out(&context, before, target, watch).await
}

/// Changes the engine, and puts back what was there if it is not well then.
async fn carry_out(
    context: &Context<'_>,
    before: Before,
    target: Target,
    watch: &Watch<'_>,
) -> Result<Upgraded> {
    let session = context.session;
    match change(context, &before, target, watch).await {
        Ok(engine) => {
            before.done(context).await?;
            Ok(Upgraded {
                plan: before.plan,
                engine,
            })
        }
        // Nobody knows what the machine did since; it is asked again when it can be.
        Err(error) if session.is_closed() => Err(error),
        Err(error) => Err(back(context, &before, error, watch).await),
    }
}

/// Puts the version back that was there before an upgrade that broke off. False if there is none such.
///
/// # Errors
/// [`Error::NotRolledBack`].
pub async fn roll_back(
    session: &Session,
    wanted: &Wanted,
    watch: &Watch<'_>,
) -> Result<Option<Plan>> {
    let context = Context::look(session, wanted, watch.progress).await?;
    let Some(before) = Before::read(&context).await? else {
        return Ok(None);
    };
    let asked = Error::BrokenOff {
        host: session.host().to_owned(),
        to: before.plan.to.clone(),
        channel: before.plan.channel.clone(),
    };
    match back(&context, &before, asked, watch).await {
        Error::RolledBack { .. } => Ok(Some(before.plan)),
        error => Err(error),
    }
}

/// Installs the new version and looks whether all is well with it.
async fn change(
    context: &Context<'_>,
    before: &Before,
    target: Target,
    watch: &Watch<'_>,
) -> Result<EngineInfo> {
    // The very version that the plan names, whatever is offered by now.
    let wanted = Wanted {
        version: target.version,
        channel: target.channel,
        replace: true,
        ..context.wanted.clone()
    };
    let mut context = context.wanting(&wanted, target.bundle);
    if !context.facts.in_swarm {
        watch.step("Letting containers outlive the engine");
        steps::configure::live_restore(&mut context).await?;
    }
    restarting::spare(&context).await?;
    if wanted.channel == Channel::Upstream {
        watch.step(steps::repository::Repository.title());
        steps::repository::Repository.run(&mut context).await?;
    }
    watch.step(steps::install::Install.title());
    match target.kept {
        Some(folder) => {
            let script = before::install_kept_script(&context, folder);
            context
                .packages("installing the kept packages", &script)
                .await?;
        }
        None => steps::install::Install.run(&mut context).await?,
    }
    before.hold(&context, before.plan.held).await?;
    let engine = well(&mut context, before, &before.plan.to, watch).await?;
    if let Some(gate) = watch.gate {
        watch.step("Asking the gate");
        gate().await.map_err(|detail| Error::Unhealthy {
            host: context.session.host().to_owned(),
            detail: format!("the gate says no: {detail}"),
        })?;
    }
    Ok(engine)
}

/// Starts the engine if need be, and looks whether it and its containers are as they should be.
async fn well(
    context: &mut Context<'_>,
    before: &Before,
    version: &str,
    watch: &Watch<'_>,
) -> Result<EngineInfo> {
    context.facts = Facts::gather(context.session).await?;
    watch.step(steps::start::Start.title());
    if !steps::start::Start.done(context).await? {
        steps::start::Start.run(context).await?;
    }
    restarting::resume(context).await?;
    // Some packages leave the engine running that was there before.
    if steps::start::is_replaced(context).await? {
        steps::start::again(context).await?;
    }
    let engine = answer(context).await?;
    watch.step("Checking the containers");
    health::check(context, &engine, version, &before.containers).await?;
    Ok(engine)
}

async fn answer(context: &mut Context<'_>) -> Result<EngineInfo> {
    steps::check::Check.run(context).await?;
    answered(context)
}

/// The engine as it answered last.
fn answered(context: &Context<'_>) -> Result<EngineInfo> {
    context.engine.clone().ok_or_else(|| Error::Unhealthy {
        host: context.session.host().to_owned(),
        detail: "the engine does not answer".into(),
    })
}

/// Puts what was there before back, after `why`. The outcome is always an error: which one tells how it went.
async fn back(context: &Context<'_>, before: &Before, why: Error, watch: &Watch<'_>) -> Error {
    watch.progress.note(&format!("{why}"));
    watch.step("Putting the old version back");
    let host = context.session.host().to_owned();
    let restored = async {
        restarting::spare(context).await?;
        before.restore(context).await?;
        let wanted = Wanted {
            version: Version::Any,
            ..context.wanted.clone()
        };
        let mut context = context.wanting(&wanted, None);
        well(&mut context, before, &before.plan.from, watch).await?;
        before.forget(&context).await
    };
    match restored.await {
        Ok(()) => Error::RolledBack {
            host,
            to: before.plan.to.clone(),
            from: before.plan.from.clone(),
            why: Box::new(why),
        },
        Err(and) => Error::NotRolledBack {
            host,
            to: before.plan.to.clone(),
            from: before.plan.from.clone(),
            why: Box::new(why),
            and: Box::new(and),
        },
    }
}
