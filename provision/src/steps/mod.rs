//! Bringing a machine to what is wanted, step by step. Each step sees for itself whether it is done, so that a
//! provisioning that was cut off is simply started again. One file a step.

mod access;
pub(crate) mod check;
pub(crate) mod configure;
mod deliver;
pub(crate) mod install;
pub(crate) mod repository;
mod settle;
pub(crate) mod start;

use async_trait::async_trait;
use berth_driver_api::Progress;

use crate::Result;
use crate::bundle::Bundle;
use crate::context::{self, Context};
use crate::facts::Facts;
use crate::family;
use crate::ssh::Session;
use crate::wanted::{Installed, Kind, Wanted};

/// One step on the way.
#[async_trait]
pub(crate) trait Step: Send + Sync {
    /// What it does, as a line of progress: `Installing docker`.
    fn title(&self) -> &'static str;

    /// True if there is nothing to do.
    async fn done(&self, context: &Context<'_>) -> Result<bool>;

    /// Does it. Done twice, it does no harm.
    async fn run(&self, context: &mut Context<'_>) -> Result<()>;
}

const STEPS: &[&dyn Step] = &[
    &settle::Settle,
    &configure::Configure,
    &repository::Repository,
    &install::Install,
    &start::Start,
    &access::Access,
    &check::Check,
];

/// Whether a machine is what is wanted already, and its engine answers. Changes nothing.
///
/// # Errors
/// If the machine cannot be asked, or cannot become what is wanted.
pub async fn is_provisioned(
    session: &Session,
    wanted: &Wanted,
    progress: &dyn Progress,
) -> Result<bool> {
    if wanted.engine == Kind::None {
        return Ok(true);
    }
    let mut context = Context::look(session, wanted, progress).await?;
    open_bundle(&mut context).await?;
    let check = check::Check.title();
    for step in STEPS.iter().filter(|step| step.title() != check) {
        if !step.done(&context).await? {
            return Ok(false);
        }
    }
    Ok(check::Check.run(&mut context).await.is_ok())
}

/// Looks through the bundle, if it is needed.
async fn open_bundle(context: &mut Context<'_>) -> Result<()> {
    if let Some(path) = deliver::path(context) {
        let bundle = Bundle::open(path).await?;
        let (host, arch) = (context.session.host(), &context.facts.arch);
        let (engine, version) = (context.wanted.engine, &context.wanted.version);
        bundle.check(host, context.family, arch, engine, version)?;
        context.bundle = Some(bundle);
    }
    Ok(())
}

/// Brings a machine to what is wanted and tells what it has. A machine that is there already costs one command
/// and one request. `on_step` is called with the title of each step that was carried out, when it is.
///
/// # Errors
/// Whatever went wrong. Calling it again goes on from there.
pub async fn provision(
    session: &Session,
    wanted: &Wanted,
    progress: &dyn Progress,
    on_step: &(dyn Fn(&str) + Send + Sync),
) -> Result<Installed> {
    progress.phase("Looking around");
    let facts = Facts::gather(session).await?;
    let mut found = Installed {
        os: facts.os.clone(),
        arch: facts.arch.clone(),
        engine: None,
        limits: facts.limits.clone(),
        needs_login: false,
    };
    if wanted.engine == Kind::None {
        return Ok(found);
    }
    let mut context = Context {
        session,
        wanted,
        progress,
        family: family::of(&found.os, session.host())?,
        facts,
        bundle: None,
        engine: None,
        patience: context::PATIENCE,
    };
    open_bundle(&mut context).await?;
    let was_let_in = access::Access.done(&context).await?;
    for step in STEPS {
        if !step.done(&context).await? {
            progress.phase(step.title());
            step.run(&mut context).await?;
            on_step(step.title());
        }
    }
    found.needs_login = !was_let_in;
    found.engine = context.engine;
    Ok(found)
}
