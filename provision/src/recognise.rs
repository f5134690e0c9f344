//! Recognising an engine that a machine has already. Nothing is installed, started or configured.

use std::time::Duration;

use berth_driver_api::Progress;
use tokio::time::timeout;

use crate::engine::Engine;
use crate::facts::Facts;
use crate::family::Source;
use crate::ssh::Session;
use crate::steps::install;
use crate::wanted::{Channel, EngineInfo, Installed, Kind};
use crate::{Error, Result};

/// How long an engine may take to answer on a socket that is there.
const ANSWER: Duration = Duration::from_secs(30);

/// More sockets than a machine has engines.
const MOST: usize = 8;

/// Prints the engines' sockets that are there, and whether the user may use them. `DOCKER_HOST` of the login's
/// environment goes first: it says where a rootless engine listens.
const LOOK: &str = "u=$(id -u); for s in \"${DOCKER_HOST#unix://}\" /run/docker.sock /run/user/$u/docker.sock \
     /run/podman/podman.sock /run/user/$u/podman/podman.sock; do [ -S \"$s\" ] || continue; \
     if [ -r \"$s\" ] && [ -w \"$s\" ]; then echo \"may $s\"; else echo \"may-not $s\"; fi; done; true";

/// What was found: the machine with its engine, and the channel that the engine came by, if that can be told.
#[derive(Debug)]
pub struct Recognised {
    /// The machine, with its engine if it has one that answers.
    pub machine: Installed,
    /// Where the engine came from.
    pub channel: Option<Channel>,
}

/// Looks for an engine, of `kind` if one is named.
///
/// # Errors
/// [`Error::SocketClosed`] if there is one and the user may not use it; [`Error::Lost`].
pub async fn recognise(
    session: &Session,
    kind: Option<Kind>,
    progress: &dyn Progress,
) -> Result<Recognised> {
    progress.phase("Looking for an engine");
    let facts = Facts::gather(session).await?;
    let mut found = Recognised {
        machine: Installed {
            os: facts.os.clone(),
            arch: facts.arch.clone(),
            engine: None,
            limits: facts.limits.clone(),
            needs_login: false,
        },
        channel: None,
    };
    let printed = session.run("looking for engines", LOOK).await?;
    let mut closed = None;
    for line in String::from_utf8_lossy(&printed).lines().take(MOST) {
        let Some((may, socket)) = line.split_once(' ') else {
            continue;
        };
        let is = match socket.contains("podman") {
            true => Kind::Podman,
            false => Kind::Docker,
        };
        if kind.is_some_and(|kind| kind != is) || !is_path(socket) {
            continue;
        }
        if may != "may" {
            closed.get_or_insert_with(|| socket.to_owned());
            continue;
        }
        session.find_way(socket).await?;
        let engine = Engine::over_ssh(session, socket)?;
        let Ok(Ok(version)) = timeout(ANSWER, engine.version()).await else {
            continue;
        };
        found.machine.engine = Some(EngineInfo {
            kind: is,
            version: version.engine,
            api_version: version.api,
            socket: socket.to_owned(),
        });
        found.channel = facts.engine(is).and_then(|package| {
            Some(match install::source(package)? {
                Source::Distro => Channel::Distro,
                Source::Upstream => Channel::Upstream,
            })
        });
        return Ok(found);
    }
    match closed {
        Some(socket) => Err(Error::SocketClosed {
            host: session.host().to_owned(),
            user: session.user().to_owned(),
            socket,
        }),
        None => Ok(found),
    }
}

/// What a machine says is a path: it goes into records and commands.
fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && text.len() < 108
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/._-+@".contains(c))
}
