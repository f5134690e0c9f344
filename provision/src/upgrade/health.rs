//! Whether an engine and its containers are well.

use std::time::Duration;

use tokio::time::sleep;

use crate::context::Context;
use crate::engine::{Container, Engine};
use crate::wanted::EngineInfo;
use crate::{Error, Result};

use super::before::Before;
use super::plan;

/// Containers that fall over do so at once, or soon: they are looked at twice.
const SOON: Duration = Duration::from_secs(3);

/// The containers that run now.
pub(super) async fn running(context: &Context<'_>, engine: &EngineInfo) -> Result<Vec<Container>> {
    Engine::over_ssh(context.session, &engine.socket)?
        .running()
        .await
}

/// Checks that the engine is of the package version, and that what ran before runs still and was not restarted.
pub(super) async fn check(
    context: &Context<'_>,
    engine: &EngineInfo,
    version: &str,
    before: &Before,
) -> Result<()> {
    let unwell = |detail: String| Error::Unhealthy {
        host: context.session.host().to_owned(),
        detail,
    };
    if !plan::is_of(&engine.version, version) {
        let says = &engine.version;
        return Err(unwell(format!(
            "the engine says that it is {says}, not {version}"
        )));
    }
    // A swarm starts its containers elsewhere, or anew: that is no harm.
    if context.facts.in_swarm || before.containers.is_empty() {
        return Ok(());
    }
    for pause in [Duration::ZERO, SOON] {
        sleep(pause).await;
        let now = running(context, engine).await?;
        for was in &before.containers {
            match now.iter().find(|container| container.id == was.id) {
                None => {
                    return Err(unwell(format!(
                        "the container {} does not run any more",
                        was.name
                    )));
                }
                Some(container) if container.restarts != was.restarts => {
                    return Err(unwell(format!("the container {} was restarted", was.name)));
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}
