//! The engine's settings. They come before the engine, which then need not be restarted.

use async_trait::async_trait;

use super::{Context, Step};
use crate::daemon_json::merge;
use crate::facts::{DAEMON_JSON, RESTART_MARK};
use crate::wanted::Kind;
use crate::{Error, Result};

pub(super) struct Configure;

#[async_trait]
impl Step for Configure {
    fn title(&self) -> &'static str {
        "Writing the engine's settings"
    }

    async fn done(&self, context: &Context<'_>) -> Result<bool> {
        // Podman is fine as it comes.
        Ok(context.wanted.engine != Kind::Docker || settings(context)?.is_none())
    }

    async fn run(&self, context: &mut Context<'_>) -> Result<()> {
        let Some(settings) = settings(context)? else {
            return Ok(());
        };
        let prefix = context.facts.prefix(context.session)?;
        let mark = match context.facts.docker.active {
            true => format!("touch {RESTART_MARK}"),
            false => "true".to_owned(),
        };
        // The folder comes with the package, which may not be there yet; what was there is kept beside it.
        let script = format!(
            "{mark}; o={DAEMON_JSON}.before-berth; mkdir -p /etc/docker && rm -f \"$o\" && \
             {{ ! [ -e {DAEMON_JSON} ] || cp -p {DAEMON_JSON} \"$o\"; }}"
        );
        context.run_root("preparing /etc/docker", &script).await?;
        let session = context.session;
        session
            .write_file_as(prefix, DAEMON_JSON, &settings, 0o644)
            .await?;
        context.facts.settings_changed |= context.facts.docker.active;
        context.facts.daemon_json = Some(settings);
        Ok(())
    }
}

fn settings(context: &Context<'_>) -> Result<Option<Vec<u8>>> {
    let existing = context.facts.daemon_json.as_deref().unwrap_or_default();
    merge(existing, context.facts.in_swarm).map_err(|invalid| Error::InvalidConfig {
        host: context.session.host().to_owned(),
        path: DAEMON_JSON,
        line: invalid.line,
        column: invalid.column,
        detail: invalid.detail,
        excerpt: invalid.excerpt,
    })
}
