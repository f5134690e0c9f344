//! A Docker engine's API, in a machine or on this computer.
//!
//! What an engine sends is not trusted: answers are bounded in time and size.

mod ask;
mod follow;
mod look;
mod stats;
mod usage;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::{InspectContainerOptions, ListContainersOptions};
use bollard::{BollardRequest, Docker};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, Uri, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::ssh::Session;
use crate::{Error, Result};

pub use follow::{Happened, LogWish, Period};
pub use look::{ContainerRow, ImageRow};
pub use stats::Stats;
pub use usage::Usage;

/// How long an answer may take; emulated machines are slow.
const ANSWER: Duration = Duration::from_secs(60);

/// The longest answer that is read, headers and all. A thousand containers make about two megabytes.
const ANSWER_LIMIT: u64 = 16 * 1024 * 1024;

/// Most containers that one machine is believed to run, and how many of them are asked about at once.
const CONTAINERS_LIMIT: usize = 4096;
const AT_ONCE: usize = 8;

/// Most ports that one machine is believed to publish.
const PORTS_LIMIT: usize = 4096;

/// An engine. Clones share it; each request uses a stream of its own.
#[derive(Clone)]
pub struct Engine {
    socket: Socket,
    docker: Docker,
}

#[derive(Clone)]
enum Socket {
    Ssh(Session, Arc<str>),
    Unix(Arc<PathBuf>),
}

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its own version.
    pub engine: String,
    /// The newest API version that it speaks.
    pub api: String,
}

/// A port that a running container publishes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Published {
    /// The container's name.
    pub container: String,
    /// The machine's address that it is published on; unspecified for all of them.
    pub host_ip: IpAddr,
    /// The machine's port.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
    /// The container's own address inside the machine, if it has one.
    pub address: Option<IpAddr>,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
}

/// A container that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Container {
    /// Its id, which it keeps.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// How often the engine has restarted it by its restart policy.
    pub(crate) restarts: i64,
}

impl Version {
    /// Words of the engine's, without what is none of a version.
    pub(crate) fn of(engine: &str, api: &str) -> Self {
        let plain = |text: &str| {
            let plain = text.chars().filter(|c| c.is_ascii_graphic());
            plain.take(64).collect::<String>()
        };
        Version {
            engine: plain(engine),
            api: plain(api),
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({})", self.socket.name())
    }
}

impl Engine {
    /// The engine behind a socket in a machine.
    ///
    /// # Errors
    /// None that depends on the machine: nothing is sent yet.
    pub fn over_ssh(session: &Session, socket: &str) -> Result<Self> {
        Self::new(Socket::Ssh(session.clone(), socket.into()))
    }

    /// The engine behind a socket on this computer.
    ///
    /// # Errors
    /// None that depends on the engine: nothing is sent yet.
    pub fn over_unix(path: &Path) -> Result<Self> {
        Self::new(Socket::Unix(Arc::new(path.to_owned())))
    }

    fn new(socket: Socket) -> Result<Self> {
        let docker = socket.docker(ANSWER_LIMIT)?;
        Ok(Engine { socket, docker })
    }

    /// The whole API, for what is not here. Its answers are not bounded in size.
    ///
    /// # Errors
    /// None that depends on the engine: nothing is sent yet.
    pub fn docker(&self) -> Result<Docker> {
        self.socket.docker(u64::MAX)
    }

    /// The engine's version.
    ///
    /// # Errors
    /// [`Error::Engine`] if it does not answer, or not as an engine does.
    pub async fn version(&self) -> Result<Version> {
        if let Some(version) = in_headers(&self.head("/_ping").await?) {
            return Ok(version);
        }
        let version = self.answer(self.docker.version()).await?;
        match (version.version, version.api_version) {
            (Some(engine), Some(api)) => Ok(Version::of(&engine, &api)),
            _ => Err(self
                .socket
                .failed("does not say its version", &"the answer has none")),
        }
    }

    /// The ports that running containers publish, in order, each once.
    ///
    /// # Errors
    /// [`Error::Engine`] if it does not answer, or not as an engine does.
    pub async fn published(&self) -> Result<Vec<Published>> {
        let listing = self.docker.list_containers(None::<ListContainersOptions>);
        let mut published = Vec::new();
        for container in self.answer(listing).await? {
            let names = container.names.unwrap_or_default();
            let name = names.first().cloned().or(container.id).unwrap_or_default();
            let name: String = name
                .trim_start_matches('/')
                .chars()
                .filter(|c| !c.is_control())
                .take(128)
                .collect();
            let networks = container.network_settings.and_then(|of| of.networks);
            let address = networks
                .iter()
                .flat_map(|networks| networks.values())
                .find_map(|network| network.ip_address.as_ref()?.parse().ok());
            for port in container.ports.unwrap_or_default() {
                let Some(host_port) = port.public_port.filter(|port| *port != 0) else {
                    continue;
                };
                let host_ip = port.ip.unwrap_or_default();
                published.push(Published {
                    container: name.clone(),
                    host_ip: host_ip.parse().unwrap_or(IpAddr::from([0, 0, 0, 0])),
                    host_port,
                    container_port: port.private_port,
                    address,
                    protocol: match port.typ.map(|protocol| protocol.to_string()).as_deref() {
                        Some("udp") => "udp",
                        Some("sctp") => "sctp",
                        _ => "tcp",
                    },
                });
            }
            if published.len() > PORTS_LIMIT {
                return Err(self.socket.failed(
                    "publishes too much",
                    &format!("more than {PORTS_LIMIT} ports"),
                ));
            }
        }
        published.sort();
        published.dedup();
        Ok(published)
    }

    /// The containers that run, by name.
    ///
    /// # Errors
    /// [`Error::Engine`] if it does not answer, or not as an engine does.
    pub(crate) async fn running(&self) -> Result<Vec<Container>> {
        let listing = self.docker.list_containers(None::<ListContainersOptions>);
        let listed = self.answer(listing).await?;
        if listed.len() > CONTAINERS_LIMIT {
            let much = format!("more than {CONTAINERS_LIMIT} containers");
            return Err(self.socket.failed("runs too much", &much));
        }
        let ids: Vec<String> = listed.into_iter().filter_map(|about| about.id).collect();
        // Each is asked on a stream of its own, a few at once.
        let asked = stream::iter(ids).map(async |id: String| {
            let about = self
                .docker
                .inspect_container(&id, None::<InspectContainerOptions>);
            let about = self.answer(about).await?;
            let name: String = about
                .name
                .unwrap_or_default()
                .chars()
                .filter(|c| !c.is_control())
                .collect();
            Ok(Container {
                name: name.trim_start_matches('/').chars().take(128).collect(),
                restarts: about.restart_count.unwrap_or_default(),
                id,
            })
        });
        let mut running: Vec<Container> = asked.buffer_unordered(AT_ONCE).try_collect().await?;
        running.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(running)
    }

    /// Yields each time that something happened to containers which may have changed [`Engine::published`]:
    /// list them again then. Events that come together are one. Ends when the engine goes away.
    ///
    /// What an event says is not even read: it may be of any size.
    ///
    /// # Errors
    /// [`Error::Engine`] if the engine does not answer.
    pub async fn events(&self) -> Result<impl Stream<Item = ()> + Send + Unpin + use<>> {
        // {"type":["container"],"event":["start","die","pause","unpause","rename"]}
        let path = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B%22start%22%2C\
             %22die%22%2C%22pause%22%2C%22unpause%22%2C%22rename%22%5D%7D";
        let pieces = self.stream(path).await?;
        Ok(Box::pin(pieces.ready_chunks(64).map(drop)))
    }

    async fn answer<T>(
        &self,
        asking: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T> {
        match timeout(ANSWER, asking).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.socket.failed("does not answer", &error)),
            Err(_) => Err(self.socket.failed("does not answer", &"it took too long")),
        }
    }
}

impl Socket {
    fn docker(&self, limit: u64) -> Result<Docker> {
        let socket = self.clone();
        Docker::connect_with_custom_transport(
            move |request: BollardRequest| {
                let socket = socket.clone();
                Box::pin(async move { send(&socket, request, limit).await.map_err(io_error) })
            },
            Some("http://engine"),
            ANSWER.as_secs(),
            bollard::API_DEFAULT_VERSION,
        )
        .map_err(|error| self.failed("cannot be asked", &error))
    }

    fn name(&self) -> String {
        match self {
            Socket::Ssh(session, path) => format!("{}:{path}", session.host()),
            Socket::Unix(path) => path.display().to_string(),
        }
    }

    fn failed(&self, what: &'static str, detail: &dyn std::fmt::Display) -> Error {
        Error::Engine {
            at: self.name(),
            what,
            detail: berth_driver_api::process::last_lines(detail.to_string().as_bytes(), 4),
        }
    }
}

/// The version in the head of every answer: `Server: Docker/26.1.5+dfsg1 (linux)`, `Api-Version: 1.45`. For the answer that
/// is about versions an engine runs other programs, which costs an emulated guest seconds.
fn in_headers(headers: &HeaderMap) -> Option<Version> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let (_, version) = text("server")?.split_once('/')?;
    let version = version.split(' ').next().filter(|word| !word.is_empty())?;
    Some(Version::of(version, text("api-version")?))
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Sends one request on a stream of its own, of which at most `limit` bytes are read.
async fn send<B>(
    socket: &Socket,
    request: Request<B>,
    limit: u64,
) -> Result<Response<Incoming>, Cause>
where
    B: hyper::body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    match socket {
        Socket::Ssh(session, path) => {
            send_on(session.open_engine(path).await?, request, limit).await
        }
        Socket::Unix(path) => send_on(UnixStream::connect(&**path).await?, request, limit).await,
    }
}

async fn send_on<S, B>(
    stream: S,
    request: Request<B>,
    limit: u64,
) -> Result<Response<Incoming>, Cause>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: hyper::body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    let (reading, writing) = tokio::io::split(stream);
    let bounded = tokio::io::join(reading.take(limit), writing);
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(64 * 1024)
        .handshake(TokioIo::new(bounded))
        .await?;
    tokio::spawn(connection.with_upgrades());
    let (mut parts, body) = request.into_parts();
    // A server wants the path alone.
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse::<Uri>()?;
    parts
        .headers
        .insert(header::HOST, header::HeaderValue::from_static("engine"));
    Ok(sender
        .send_request(Request::from_parts(parts, body))
        .await?)
}

fn io_error(cause: Cause) -> bollard::errors::Error {
    bollard::errors::Error::IOError {
        err: std::io::Error::other(cause),
    }
}
