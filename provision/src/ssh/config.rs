//! How we speak SSH: algorithms, keep-alive, buffers.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::client;
use russh::keys::Algorithm;
use russh::{Preferred, cipher, kex};

use super::known_hosts::Pinned;

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
