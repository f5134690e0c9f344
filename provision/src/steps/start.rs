//! Starting the engine, now and at every boot.

use async_trait::async_trait;

use super::{Context, Step};
use crate::service::{Init, Service, rootless_script, rootless_start_script};
use crate::ssh::quote;
use crate::wanted::Kind;
use crate::{Error, Result};

pub(crate) struct Start;

fn init(context: &Context<'_>) -> Result<Init> {
    context.facts.init.ok_or_else(|| Error::Lacking {
        host: context.session.host().to_owned(),
        what: "systemd or OpenRC",
        detail: "berth starts engines as their services".into(),
    })
}

/// True if the engine runs from a program that is no longer the one on the disk.
pub(crate) async fn is_replaced(context: &Context<'_>) -> Result<bool> {
    let script = init(context)?.program_script(context.wanted.engine, context.facts.is_root);
    let what = "looking at the engine's process";
    let program = match context.wanted.engine {
        Kind::Podman => as_user(context, what, &script).await?,
        _ => context.run_root(what, &script).await?.stdout,
    };
    // Of proc_pid_exe(5).
    Ok(program.trim_ascii_end().ends_with(b" (deleted)"))
}

/// Starts the engine anew.
pub(crate) async fn again(context: &Context<'_>) -> Result<()> {
    let script = init(context)?.again_script(context.wanted.engine, context.facts.is_root);
    let what = "restarting the engine";
    match context.wanted.engine {
        Kind::Podman => as_user(context, what, &script).await.map(drop),
        _ => context.run_root(what, &script).await.map(drop),
    }
}

#[async_trait]
impl Step for Start {
    fn title(&self) -> &'static str {
        "Starting the engine"
    }

    async fn done(&self, context: &Context<'_>) -> Result<bool> {
        let facts = &context.facts;
        let service = facts.service(context.wanted.engine);
        let changed = context.wanted.engine == Kind::Docker && facts.settings_changed;
        Ok(service.active && service.enabled && !changed)
    }

    async fn run(&self, context: &mut Context<'_>) -> Result<()> {
        let init = init(context)?;
        let started = Service {
            active: true,
            starting: false,
            enabled: true,
        };
        match context.wanted.engine {
            Kind::Podman if !context.facts.is_root => {
                start_rootless(context).await?;
                context.facts.podman = started;
            }
            Kind::Podman => {
                let script = init.start_script(Kind::Podman);
                context.run_root("starting the engine", &script).await?;
                context.facts.podman = started;
            }
            kind => {
                let script = match context.facts.settings_changed {
                    true => init.restart_script(),
                    false => init.start_script(kind),
                };
                context.run_root("starting the engine", &script).await?;
                context.facts.settings_changed = false;
                context.facts.docker = started;
            }
        }
        Ok(())
    }
}

/// Whoever logs in as someone else than root gets a podman of their own: its socket is no way to become root.
async fn start_rootless(context: &Context<'_>) -> Result<()> {
    let allow = rootless_script(context.session.user());
    context
        .run_root("letting the user have services", &allow)
        .await?;
    as_user(context, "starting the engine", &rootless_start_script())
        .await
        .map(drop)
}

/// Runs a script that must succeed as who logged in, and returns what it prints.
async fn as_user(context: &Context<'_>, what: &str, script: &str) -> Result<Vec<u8>> {
    let script = format!("export LC_ALL=C; {script}");
    let command = format!("sh -c {}", quote(&script));
    context.session.run(what, &command).await
}
