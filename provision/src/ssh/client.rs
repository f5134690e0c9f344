//! How we speak SSH, and what we do with what the server says of itself.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_driver_api::process::last_lines;
use russh::client::{self, DisconnectReason};
use russh::keys::{Algorithm, PublicKeyOrCertificate};
use russh::{Preferred, cipher, kex};
use tokio::sync::watch;

use super::keys::HostKey;
use super::known_hosts::Pinned;

/// Longest word of the server's that is kept.
const BANNER_LIMIT: usize = 2048;

/// Classical curve25519 goes first: it is the cheapest to compute, and many guests are emulated. What follows is
/// for servers that insist on something else.
const KEX: &[kex::Name] = &[
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::MLKEM768X25519_SHA256,
    kex::DH_GEX_SHA256,
    kex::DH_G16_SHA512,
    kex::DH_G14_SHA256,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
];

/// AES is in every server's hardware, and an emulated one's is three times as fast as ChaCha20 is there.
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_128_CTR,
];

/// How we speak. Only the types of the recorded keys are asked for.
pub(super) fn config(pinned: &Pinned) -> Arc<client::Config> {
    asking_for(Some(pinned.algorithms(&Preferred::DEFAULT.key)))
}

/// How we speak to a server whose key is not known; with `kind`, only keys of that type are asked for.
pub(super) fn only(kind: Option<&Algorithm>) -> Arc<client::Config> {
    asking_for(kind.map(|kind| vec![kind.clone()]))
}

fn asking_for(keys: Option<Vec<Algorithm>>) -> Arc<client::Config> {
    let mut preferred = Preferred {
        kex: Cow::Borrowed(KEX),
        cipher: Cow::Borrowed(CIPHERS),
        ..Preferred::DEFAULT
    };
    if let Some(keys) = keys {
        preferred.key = Cow::Owned(keys);
    }
    Arc::new(client::Config {
        preferred,
        nodelay: true,
        keepalive_interval: Some(Duration::from_secs(15)),
        keepalive_max: 4,
        // Messages waiting for one stream; each is up to 32 KiB.
        channel_buffer_size: 16,
        ..client::Config::default()
    })
}

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
