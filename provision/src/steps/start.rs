//! Starting the engine, now and at every boot.

use async_trait::async_trait;

use super::{Context, Step};
use crate::environment;
use crate::facts::{DAEMON_JSON, RESTART_MARK};
use crate::{Error, Result};

pub(super) struct Start;

/// Why a service did not start, in its own words.
const WORDS: &str = "journalctl -u docker.service -n 15 --no-pager -o cat >&2";

/// systemd starts nothing that failed to start a few times before, until this.
const AFRESH: &str = "systemctl reset-failed docker.service docker.socket 2>/dev/null";

#[async_trait]
impl Step for Start {
    fn title(&self) -> &'static str {
        "Starting the engine"
    }

    async fn done(&self, context: &Context<'_>) -> Result<bool> {
        let facts = &context.facts;
        Ok(facts.docker_active && facts.docker_enabled && !facts.settings_changed)
    }

    async fn run(&self, context: &mut Context<'_>) -> Result<()> {
        if !context.facts.has_systemd {
            return Err(Error::Lacking {
                host: context.session.host().to_owned(),
                what: "systemd",
                detail: "berth starts engines as systemd services".into(),
            });
        }
        let script = if context.facts.settings_changed {
            // Reloading turns live-restore on, so that containers live through the restart that the other
            // settings need. Variables may be secret: old ones are not kept. Settings that the engine does not start with are taken back.
            format!(
                "{AFRESH}; systemctl enable -q docker.service; systemctl reload docker.service; \
                 systemctl restart docker.service && \
                 rm -f {RESTART_MARK} {environment}.before-berth && exit 0; {WORDS}; \
                 for f in {DAEMON_JSON} {environment}; do \
                 if [ -e \"$f.before-berth\" ]; then mv \"$f.before-berth\" \"$f\"; else rm -f \"$f\"; fi; done; \
                 {AFRESH}; systemctl restart docker.service && rm -f {RESTART_MARK}; exit 1",
                environment = environment::FILE,
            )
        } else {
            format!("{AFRESH}; systemctl enable -q --now docker.service && exit 0; {WORDS}; exit 1")
        };
        context.run_root("starting the engine", &script).await?;
        context.facts.settings_changed = false;
        context.facts.docker_active = true;
        context.facts.docker_enabled = true;
        Ok(())
    }
}
