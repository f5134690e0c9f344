//! The connection that everything else uses.

use std::sync::Arc;
use std::time::Duration;

use russh::client::{Handle, Msg};
use russh::{Channel, ChannelOpenFailure, Disconnect};
use tokio::process::Child;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::client::Client;
use super::connect::{Connected, connect};
use super::{Stream, Target, host_and_port};
use crate::{Error, Result};

/// How long a machine may take to open a session or a socket for us.
const OPENING: Duration = Duration::from_secs(60);

/// OpenSSH opens ten sessions on one connection (MaxSessions); commands beyond ours wait for one to end.
const SESSIONS: usize = 9;

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
    host: String,
    user: String,
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
        let Connected {
            handle,
            carrier,
            ended,
        } = connect(target, deadline).await?;
        Ok(Session {
            inner: Arc::new(Inner {
                handle,
                _carrier: carrier,
                ended,
                sessions: Arc::new(Semaphore::new(SESSIONS)),
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
        let opening = self.inner.handle.channel_open_session();
        Ok((self.opened("a session", opening).await?, permit))
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
