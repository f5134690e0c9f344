//! Asking the engine itself.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::{Context, Step};
use crate::engine::{Engine, Version};
use crate::wanted::{EngineInfo, Kind};
use crate::{Error, Result};

pub(crate) struct Check;

/// Where engines listen in the machine.
const DOCKER: &str = "/run/docker.sock";
const PODMAN: &str = "/run/podman/podman.sock";

/// The service says that it has started when it has; this is for what comes up beside it.
const PATIENCE: Duration = Duration::from_secs(60);

#[async_trait]
impl Step for Check {
    fn title(&self) -> &'static str {
        "Checking the engine"
    }

    async fn done(&self, context: &Context<'_>) -> Result<bool> {
        Ok(context.engine.is_some())
    }

    async fn run(&self, context: &mut Context<'_>) -> Result<()> {
        let facts = &context.facts;
        let (socket, may) = match context.wanted.engine {
            Kind::Podman if facts.is_root => (PODMAN.to_owned(), true),
            Kind::Podman => (format!("/run/user/{}/podman/podman.sock", facts.uid), true),
            _ => (DOCKER.to_owned(), facts.is_root || facts.in_docker_group),
        };
        let version = match may {
            true => ask(context, &socket).await?,
            // A group counts from the next login on.
            false => ask_as_root(context).await?,
        };
        context.engine = Some(EngineInfo {
            kind: context.wanted.engine,
            version: version.engine,
            api_version: version.api,
            socket,
        });
        Ok(())
    }
}

async fn ask(context: &Context<'_>, socket: &str) -> Result<Version> {
    let engine = Engine::over_ssh(context.session, socket)?;
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(200);
    loop {
        match engine.version().await {
            Ok(version) => return Ok(version),
            Err(error) if context.session.is_closed() || Instant::now() + pause > deadline => {
                return Err(error);
            }
            Err(error) => tracing::debug!(%error, "the engine does not answer yet"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

async fn ask_as_root(context: &Context<'_>) -> Result<Version> {
    let script = "docker version --format '{{.Server.Version}} {{.Server.APIVersion}}'";
    let output = context
        .run_root("asking the engine for its version", script)
        .await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut words = text.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some(engine), Some(api)) => Ok(Version::of(engine, api)),
        _ => Err(Error::Engine {
            at: format!("{}:{DOCKER}", context.session.host()),
            what: "does not say its version",
            detail: text.chars().take(80).filter(|c| !c.is_control()).collect(),
        }),
    }
}
