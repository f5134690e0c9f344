//! How a host is reached, as it was found out when it was adopted.

use berth_driver_api::record::KeptRecord;
use berth_driver_api::{Login, Result};
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::hosts::known_keys;
use crate::options::{HostKey, Options};
use crate::settings::Settings;

/// `ssh.toml` in the machine's folder.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Adopted {
    /// What the user called it.
    pub(crate) host: String,
    pub(crate) hostname: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    #[serde(default)]
    pub(crate) jump: Vec<String>,
    #[serde(default)]
    pub(crate) install_key: bool,
    #[serde(default)]
    pub(crate) fingerprint: Option<String>,
    /// `type base64` each.
    #[serde(default)]
    pub(crate) host_keys: Vec<String>,
    #[serde(default)]
    pub(crate) logins: Vec<Login>,
    /// What a later berth wrote here.
    #[serde(flatten)]
    unknown: Table,
}

impl KeptRecord for Adopted {
    const FILE: &str = "ssh.toml";
}

impl Adopted {
    pub(crate) async fn of(options: &Options, settings: Settings) -> Result<Self> {
        let (fingerprint, host_keys) = match &options.host_key {
            Some(HostKey::Fingerprint(fingerprint)) => (Some(fingerprint.clone()), Vec::new()),
            Some(HostKey::Key(key)) => (None, vec![key.clone()]),
            None => (None, known_keys(&settings).await?),
        };
        Ok(Adopted {
            host: options.host.clone(),
            install_key: options.install_key,
            fingerprint,
            host_keys,
            logins: logins(options, &settings),
            hostname: settings.hostname,
            port: settings.port,
            user: settings.user,
            jump: settings.jump,
            unknown: Table::new(),
        })
    }
}

/// What ssh would try, in its order: the agent's keys, then the files that are there.
fn logins(options: &Options, settings: &Settings) -> Vec<Login> {
    if let Some(key) = &options.key {
        return vec![key.clone()];
    }
    let agent = !settings.no_agent && std::env::var_os("SSH_AUTH_SOCK").is_some();
    let files = settings.keys.iter().filter(|key| key.is_file());
    let mut logins: Vec<Login> = files.map(|key| Login::File(key.clone())).collect();
    if agent {
        let place = if settings.files_first {
            logins.len()
        } else {
            0
        };
        logins.insert(place, Login::Agent);
    }
    logins
}
