//! The engine's settings. They come before the engine, which then need not be restarted.

use async_trait::async_trait;

use super::{Context, Step};
use crate::daemon_json::DAEMON_JSON;
use crate::daemon_json::merge;
use crate::environment::{self, DROP_IN, DROP_IN_TEXT};
use crate::service::Init;
use crate::service::RESTART_MARK;
use crate::wanted::Kind;
use crate::{Error, Result};

pub(crate) struct Configure;

#[async_trait]
impl Step for Configure {
    fn title(&self) -> &'static str {
        "Writing the engine's settings"
    }

    async fn done(&self, context: &Context<'_>) -> Result<bool> {
        // Podman is fine as it comes.
        if context.wanted.engine != Kind::Docker {
            return Ok(true);
        }
        let right = settings(context)?.is_none() && environment(context).is_none();
        Ok(right && is_read(context))
    }

    async fn run(&self, context: &mut Context<'_>) -> Result<()> {
        let (settings, variables) = (settings(context)?, environment(context));
        let prefix = context.facts.prefix(context.session)?;
        let has_read = context.facts.docker.active || context.facts.docker.starting;
        let mark = match has_read {
            true => format!("touch {RESTART_MARK}"),
            false => "true".to_owned(),
        };
        // The folder comes with the package, which may not be there yet; what was there is kept beside it.
        let script = format!(
            "{mark}; mkdir -p /etc/docker $(dirname {DROP_IN}) && for f in {DAEMON_JSON} {file}; do \
             rm -f \"$f.before-berth\"; ! [ -e \"$f\" ] || cp -p \"$f\" \"$f.before-berth\" || exit; done",
            file = environment::FILE,
        );
        context.run_root("preparing /etc/docker", &script).await?;
        let session = context.session;
        if let Some(settings) = settings {
            session
                .write_file_as(prefix, DAEMON_JSON, &settings, 0o644)
                .await?;
            context.facts.daemon_json = Some(settings);
        }
        if let Some(variables) = variables {
            session
                .write_file_as(prefix, environment::FILE, &variables, 0o600)
                .await?;
            context.facts.environment = Some(variables);
        }
        if !is_read(context) {
            if context.facts.init != Some(Init::Systemd) {
                return Err(Error::Unsupported(
                    "an environment of the engine's without systemd".into(),
                ));
            }
            session
                .write_file_as(prefix, DROP_IN, DROP_IN_TEXT.as_bytes(), 0o644)
                .await?;
            context
                .run_root(
                    "giving the engine its environment",
                    "systemctl daemon-reload",
                )
                .await?;
            context.facts.reads_environment = true;
        }
        context.facts.settings_changed |= has_read;
        Ok(())
    }
}

/// Sees to it that an engine that is running leaves its containers alone when it is stopped.
pub(crate) async fn live_restore(context: &mut Context<'_>) -> Result<()> {
    if Configure.done(context).await? && !context.facts.settings_changed {
        return Ok(());
    }
    Configure.run(context).await?;
    // Of what was written this is what an engine takes without being restarted.
    let Some(init) = context.facts.init else {
        return Ok(());
    };
    context
        .run_root("having the engine read its settings", init.reload_script())
        .await
        .map(drop)
}

/// The new environment; `None` if it is as wanted.
fn environment(context: &Context<'_>) -> Option<Vec<u8>> {
    let there = context.facts.environment.as_deref();
    environment::changed(there, &context.wanted.settings.environment)
}

/// True if the service reads the environment, or there is none to read.
fn is_read(context: &Context<'_>) -> bool {
    context.facts.reads_environment || context.wanted.settings.environment.is_empty()
}

fn settings(context: &Context<'_>) -> Result<Option<Vec<u8>>> {
    let existing = context.facts.daemon_json.as_deref().unwrap_or_default();
    let settings = &context.wanted.settings;
    let (before, wanted) = (&settings.before, &settings.daemon);
    merge(existing, before, wanted, context.facts.in_swarm).map_err(|invalid| {
        Error::InvalidConfig {
            host: context.session.host().to_owned(),
            path: DAEMON_JSON,
            line: invalid.line,
            column: invalid.column,
            detail: invalid.detail,
            excerpt: invalid.excerpt,
        }
    })
}
