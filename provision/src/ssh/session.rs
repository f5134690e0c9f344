//! The connection that everything else uses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use russh::client::{Handle, Msg};
use russh::{Channel, ChannelOpenFailure, Disconnect};
use tokio::process::Child;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use super::client::Client;
use super::connect::{Connected, FIRST_GREETING, LONGEST_GREETING, connect};
use super::{Stream, Target, host_and_port, quote};
use crate::{Error, Result};

/// How long a machine may take to open a session or a socket for us.
const OPENING: Duration = Duration::from_secs(60);

/// OpenSSH opens ten sessions on one connection (MaxSessions); commands beyond ours wait for one to end.
const SESSIONS: usize = 9;

/// A session that has ended here counts there until the server has heard of it: one that is refused is asked for again for
/// this long.
const ENDING: Duration = Duration::from_secs(2);

/// A connection to a machine, logged in. Clones share it; it ends when the last one and all its streams are gone.
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    handle: Handle<Client>,
    /// Kept for as long as the connection that it carries.
    _carrier: Option<Child>,
    ended: watch::Receiver<Option<String>>,
    sessions: Arc<Semaphore>,
    /// Whether engines are reached by their own clients.
    dials: AtomicBool,
    host: String,
    user: String,
}

/// The command that carries a stream to an engine's socket.
fn dial_stdio(path: &str) -> String {
    let url = quote(&format!("unix://{path}"));
    match path.contains("podman") {
        true => format!("exec podman --url {url} system dial-stdio"),
        false => format!("exec docker -H {url} system dial-stdio"),
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({}@{})", self.inner.user, self.inner.host)
    }
}

impl Session {
    /// Connects and logs in. Tries again until `deadline` while the machine is not reachable yet.
    ///
    /// # Errors
    /// [`Error::Unreachable`] after the deadline; at once [`Error::HostKeyMismatch`], [`Error::HostKeyUnknown`],
    /// [`Error::KeyRejected`] and whatever is wrong with the key or the known_hosts file.
    pub async fn connect(target: &Target, deadline: Duration) -> Result<Self> {
        Self::connect_with(target, deadline, FIRST_GREETING).await
    }

    /// As [`Session::connect`], to a server that has said by another way that it listens: it is given its time. A second
    /// call would only have a slow guest start over.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub async fn connect_to_listening(target: &Target, deadline: Duration) -> Result<Self> {
        Self::connect_with(target, deadline, LONGEST_GREETING).await
    }

    async fn connect_with(target: &Target, deadline: Duration, greeting: Duration) -> Result<Self> {
        let Connected {
            handle,
            carrier,
            ended,
        } = connect(target, deadline, greeting).await?;
        Ok(Session {
            inner: Arc::new(Inner {
                handle,
                _carrier: carrier,
                ended,
                sessions: Arc::new(Semaphore::new(SESSIONS)),
                dials: AtomicBool::new(false),
                host: host_and_port(&target.host, target.port),
                user: target.user.clone(),
            }),
        })
    }

    /// Where this connection leads, for messages: `host`, or `[host]:port`.
    pub fn host(&self) -> &str {
        &self.inner.host
    }

    /// Who we are there.
    pub fn user(&self) -> &str {
        &self.inner.user
    }

    /// A two-way stream to a unix socket in the machine.
    ///
    /// # Errors
    /// [`Error::Refused`] if nothing listens there or the user may not open it; [`Error::Lost`].
    pub async fn open_unix(&self, path: &str) -> Result<Stream> {
        let opening = self.inner.handle.channel_open_direct_streamlocal(path);
        Ok(Stream::new(self.opened(path, opening).await?))
    }

    /// A two-way stream to an engine's socket, by the way that [`Session::find_way`] found.
    ///
    /// # Errors
    /// As [`Session::open_unix`].
    pub async fn open_engine(&self, path: &str) -> Result<Stream> {
        if !self.inner.dials.load(Ordering::Relaxed) {
            return self.open_unix(path).await;
        }
        let (channel, permit) = self.open_session().await?;
        let asked = channel.exec(false, dial_stdio(path)).await;
        asked.map_err(|error| self.lost(&error.to_string()))?;
        Ok(Stream::of_session(channel, permit))
    }

    /// Finds out, by trying, whether the SSH server lets streams through to an engine's socket. Where it does not, the
    /// engine's own client carries them from now on (`docker system dial-stdio`), nine at a time.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub async fn find_way(&self, path: &str) -> Result<()> {
        match self.open_unix(path).await {
            // sshd says the same of a socket that nobody listens on, so it is looked for.
            Err(Error::Refused { .. }) => {
                let there = format!("test -S {}", quote(path));
                let forbidden = self.exec(&there).await?.success();
                self.inner.dials.store(forbidden, Ordering::Relaxed);
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// A two-way stream to a TCP port that the machine can reach.
    ///
    /// # Errors
    /// [`Error::Refused`] if nothing listens there; [`Error::Lost`].
    pub async fn open_tcp(&self, host: &str, port: u16) -> Result<Stream> {
        let what = host_and_port(host, port);
        let port = u32::from(port);
        let handle = &self.inner.handle;
        let opening = handle.channel_open_direct_tcpip(host, port, "127.0.0.1", 0);
        Ok(Stream::new(self.opened(&what, opening).await?))
    }

    /// Resolves when the connection is lost or was disconnected, with what is known of why.
    pub async fn closed(&self) -> String {
        let mut ended = self.inner.ended.clone();
        // The sender goes away with the connection.
        while ended.changed().await.is_ok() {}
        self.ended_because()
    }

    /// True once the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.inner.handle.is_closed()
    }

    /// Whether the machine answers on this connection within that time; one that was cut off does not show before
    /// something is asked of it.
    pub async fn answers(&self, within: Duration) -> bool {
        let asked = timeout(within, self.inner.handle.send_ping()).await;
        matches!(asked, Ok(Ok(()))) && !self.is_closed()
    }

    /// Ends the connection, with all streams and commands on it.
    pub async fn disconnect(&self) {
        let handle = &self.inner.handle;
        // An error means that it has ended already.
        let _ = handle.disconnect(Disconnect::ByApplication, "", "").await;
    }

    /// A session channel, and the permit to hold while it is open.
    pub(super) async fn open_session(&self) -> Result<(Channel<Msg>, OwnedSemaphorePermit)> {
        let permit = self.inner.sessions.clone().acquire_owned().await;
        let permit = permit.map_err(|_| self.lost("it was closed"))?;
        let until = Instant::now() + ENDING;
        let mut pause = Duration::from_millis(2);
        loop {
            let opening = self.inner.handle.channel_open_session();
            match self.opened("a session", opening).await {
                Err(Error::Refused { .. }) if Instant::now() < until => {}
                opened => return Ok((opened?, permit)),
            }
            sleep(pause).await;
            pause *= 2;
        }
    }

    async fn opened(
        &self,
        what: &str,
        opening: impl Future<Output = Result<Channel<Msg>, russh::Error>>,
    ) -> Result<Channel<Msg>> {
        let refused = |detail: String| Error::Refused {
            host: self.inner.host.clone(),
            what: what.to_owned(),
            detail,
        };
        match timeout(OPENING, opening).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(russh::Error::ChannelOpenFailure(why))) => Err(refused(match why {
                ChannelOpenFailure::AdministrativelyProhibited => {
                    "its SSH server does not allow it".into()
                }
                ChannelOpenFailure::ConnectFailed => "nothing answers there".into(),
                ChannelOpenFailure::UnknownChannelType => "its SSH server cannot do this".into(),
                ChannelOpenFailure::ResourceShortage => "it has no room for more".into(),
                ChannelOpenFailure::Other { code, .. } => format!("code {code}"),
            })),
            Ok(Err(error)) => Err(self.lost(&error.to_string())),
            Err(_) => Err(Error::Timeout {
                host: self.inner.host.clone(),
                what: format!("opening {what}"),
                after: OPENING,
            }),
        }
    }

    /// The error for a connection that ended under us.
    pub(crate) fn lost(&self, otherwise: &str) -> Error {
        let known = self.inner.ended.borrow().clone();
        Error::Lost {
            host: self.inner.host.clone(),
            detail: known.unwrap_or_else(|| otherwise.to_owned()),
        }
    }

    fn ended_because(&self) -> String {
        let known = self.inner.ended.borrow().clone();
        known.unwrap_or_else(|| "it was disconnected".to_owned())
    }
}
