//! Whether an engine and its containers are well.

use std::time::Duration;

use tokio::time::sleep;

use crate::context::Context;
use crate::engine::{Container, Engine};
use crate::family::without_epoch;
use crate::wanted::EngineInfo;
use crate::{Error, Result};

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
    before: &[Container],
) -> Result<()> {
    let unwell = |detail: String| Error::Unhealthy {
        host: context.session.host().to_owned(),
        detail,
    };
    if !is_of(&engine.version, version) {
        let says = &engine.version;
        return Err(unwell(format!(
            "the engine says that it is {says}, not {version}"
        )));
    }
    // A swarm starts its containers elsewhere, or anew: that is no harm.
    if context.facts.in_swarm || before.is_empty() {
        return Ok(());
    }
    for pause in [Duration::ZERO, SOON] {
        sleep(pause).await;
        let now = running(context, engine).await?;
        for was in before {
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

/// True if an engine that says it is `says` is of the package version `package`.
fn is_of(says: &str, package: &str) -> bool {
    // Some packagers leave their own part out of what the engine says, some put it in.
    let upstream = |version: &str| {
        let plain = |c: char| c.is_ascii_digit() || c == '.';
        let version = without_epoch(version);
        version
            .split(|c| !plain(c))
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    upstream(says) == upstream(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_engine_says_is_compared_with_its_package() {
        assert!(is_of("26.1.5+dfsg1", "26.1.5+dfsg1-9+b9"));
        assert!(is_of("28.5.2", "5:28.5.2-1~debian.13~trixie"));
        assert!(!is_of("28.5.1", "5:28.5.2-1~debian.13~trixie"));
        assert!(!is_of("26.1.5", "26.1.50-1"));
    }
}
