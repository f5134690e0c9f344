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
    if let Some(path) = deliver::path(&context) {
        let bundle = Bundle::open(path).await?;
        bundle.check(
            session.host(),
            context.family,
            &found.arch,
            wanted.engine,
            &wanted.version,
        )?;
        context.bundle = Some(bundle);
    }
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
