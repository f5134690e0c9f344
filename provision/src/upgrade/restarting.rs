//! Podman's own service for containers with the restart policy `always`, where it is in use: packages stop it while they
//! are replaced, and it stops those containers then.

use crate::Result;
use crate::context::Context;
use crate::service::Init;
use crate::wanted::Kind;

const UNIT: &str = "podman-restart.service";

/// There, until the next boot at the latest, while the service is to leave the containers alone.
const DROP_IN: &str = "/run/systemd/system/podman-restart.service.d/50-berth-upgrade.conf";

/// Has the service leave its containers running when it is stopped.
pub(super) async fn spare(context: &Context<'_>) -> Result<()> {
    let script = format!(
        "if systemctl is-active -q {UNIT}; then mkdir -p $(dirname {DROP_IN}) && \
         printf '[Service]\\nExecStop=\\n' >{DROP_IN} && systemctl daemon-reload; fi"
    );
    run(context, "sparing containers", &script).await
}

/// Has the service do its work again.
pub(super) async fn resume(context: &Context<'_>) -> Result<()> {
    let script = format!(
        "if [ -e {DROP_IN} ]; then rm -f {DROP_IN} && systemctl daemon-reload && systemctl start {UNIT}; fi"
    );
    run(context, "starting podman's own restarts", &script).await
}

async fn run(context: &Context<'_>, what: &str, script: &str) -> Result<()> {
    if context.wanted.engine != Kind::Podman || context.facts.init != Some(Init::Systemd) {
        return Ok(());
    }
    context.run_root(what, script).await.map(drop)
}
