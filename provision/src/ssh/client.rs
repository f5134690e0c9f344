//! What we do with what the server says of itself.

use std::sync::{Arc, Mutex, PoisonError};

use berth_driver_api::process::last_lines;
use russh::client::{self, DisconnectReason};
use russh::keys::PublicKeyOrCertificate;
use tokio::sync::watch;

use super::keys::HostKey;
use super::known_hosts::Pinned;

/// Longest word of the server's that is kept.
const BANNER_LIMIT: usize = 2048;

/// Our side of one connection.
pub(super) struct Client {
    pub(super) pinned: Pinned,
    pub(super) banner: Banner,
    /// Dropped, and thereby closed, when the connection has ended.
    pub(super) ended: watch::Sender<Option<String>>,
}

/// What the server says before it lets us in.
#[derive(Clone, Default)]
pub(super) struct Banner(Arc<Mutex<String>>);

impl Banner {
    pub(super) fn text(&self) -> String {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last_lines(text.as_bytes(), 4)
    }
}

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The server has another key than the recorded one.
    WrongHostKey(String),
    /// Anything else.
    Ssh(russh::Error),
}

impl From<russh::Error> for Ended {
    fn from(error: russh::Error) -> Self {
        Ended::Ssh(error)
    }
}

impl client::Handler for Client {
    type Error = Ended;

    async fn check_server_key(
        &mut self,
        offered: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = offered else {
            return Err(Ended::WrongHostKey("a certificate".into()));
        };
        match HostKey::of(key) {
            Some((host_key, blob)) if self.pinned.accepts(&host_key.algorithm, &blob) => Ok(true),
            Some((host_key, _)) => Err(Ended::WrongHostKey(format!(
                "{} {}",
                host_key.algorithm, host_key.fingerprint
            ))),
            None => Err(Ended::WrongHostKey("an unreadable key".into())),
        }
    }

    async fn auth_banner(
        &mut self,
        banner: &str,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        let mut kept = self.banner.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = BANNER_LIMIT.saturating_sub(kept.len());
        kept.extend(banner.chars().take(room));
        Ok(())
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<Self::Error>,
    ) -> Result<(), Self::Error> {
        let words = match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                format!(
                    "the machine said: {}",
                    last_lines(info.message.as_bytes(), 2)
                )
            }
            DisconnectReason::Error(Ended::Ssh(error)) => error.to_string(),
            DisconnectReason::Error(Ended::WrongHostKey(offered)) => {
                format!("the host key changed to {offered}")
            }
        };
        self.ended.send_replace(Some(words));
        Ok(())
    }
}
