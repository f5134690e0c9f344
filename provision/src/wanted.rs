//! What a machine should have, and what it turned out to have.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::os::Os;
use crate::upstream::Upstream;
use crate::{Error, Result, Settings};

/// A kind of container engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Docker Engine.
    #[default]
    Docker,
    /// Podman.
    Podman,
    /// No engine.
    None,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Docker => "docker",
            Kind::Podman => "podman",
            Kind::None => "none",
        })
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        match word {
            "docker" => Ok(Kind::Docker),
            "podman" => Ok(Kind::Podman),
            "none" => Ok(Kind::None),
            _ => Err(Error::Word {
                what: "an engine",
                word: word.into(),
                known: "docker, podman, none",
            }),
        }
    }
}

/// Where an engine comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Channel {
    /// The packages of the machine's own distribution.
    #[default]
    Distro,
    /// The package repositories of the engine's makers.
    Upstream,
    /// Files sent over SSH.
    Bundle(PathBuf),
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Channel::Distro => f.pad("distro"),
            Channel::Upstream => f.pad("upstream"),
            Channel::Bundle(path) => write!(f, "bundle:{}", path.display()),
        }
    }
}

impl FromStr for Channel {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        match (word, word.strip_prefix("bundle:")) {
            ("distro", _) => Ok(Channel::Distro),
            ("upstream", _) => Ok(Channel::Upstream),
            (_, Some(path)) if !path.is_empty() => Ok(Channel::Bundle(path.into())),
            _ => Err(Error::Word {
                what: "a channel",
                word: word.into(),
                known: "distro, upstream, bundle:PATH",
            }),
        }
    }
}

/// Which version of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Version {
    /// The one that is there; the newest where there is none.
    #[default]
    Any,
    /// The newest that its channel offers, now and at every provisioning. It is not held.
    Latest,
    /// The newest that begins with this: the engine's own (`26.1`, `26.1.5`) or the package's version. It is held,
    /// so that upgrades of the machine's other packages leave it.
    Pinned(String),
}

/// Longer than any version.
const VERSION_LIMIT: usize = 128;

impl FromStr for Version {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".+-~:^_".contains(c);
        let begins = word.starts_with(|c: char| c.is_ascii_digit());
        match word {
            "latest" => Ok(Version::Latest),
            _ if begins && word.len() <= VERSION_LIMIT && word.chars().all(plain) => {
                Ok(Version::Pinned(word.to_owned()))
            }
            _ => Err(Error::Word {
                what: "a version",
                word: word.chars().take(VERSION_LIMIT).collect(),
                known: "latest, or one such as 26.1 or 26.1.5",
            }),
        }
    }
}

/// What a machine should have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Which engine.
    pub engine: Kind,
    /// Which version.
    pub version: Version,
    /// Where it comes from.
    pub channel: Channel,
    /// An engine that came by another channel is replaced; otherwise it is left as it is, or refused if it has
    /// another version than the wanted one.
    pub replace: bool,
    /// Where [`Channel::Upstream`] is.
    pub upstream: Upstream,
    /// What it is told beyond berth's own settings.
    pub settings: Settings,
}

/// What a machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// Its operating system.
    pub os: Os,
    /// Its architecture, as `uname -m` names it.
    pub arch: String,
    /// Its engine, unless none was wanted.
    pub engine: Option<EngineInfo>,
    /// What its kernel cannot do for containers, a sentence each.
    #[serde(default)]
    pub limits: Vec<String>,
    /// Whether the user was let use the engine just now, which counts from the next login on: connections that stand
    /// are still shut out.
    #[serde(default)]
    pub needs_login: bool,
}

/// An engine that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineInfo {
    /// Which engine.
    pub kind: Kind,
    /// Its own version.
    pub version: String,
    /// The newest API version that it speaks.
    pub api_version: String,
    /// Its API's socket in the machine.
    pub socket: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for word in ["docker", "podman", "none"] {
            assert_eq!(word.parse::<Kind>().unwrap().to_string(), word);
        }
        for word in ["distro", "upstream", "bundle:/a b"] {
            assert_eq!(word.parse::<Channel>().unwrap().to_string(), word);
        }
        for bad in ["", "bundle:", "Docker"] {
            assert!(bad.parse::<Kind>().is_err() && bad.parse::<Channel>().is_err());
        }
    }

    #[test]
    fn versions_are_latest_or_begin_with_a_number() {
        assert_eq!("latest".parse::<Version>().unwrap(), Version::Latest);
        for word in ["26", "26.1.5", "5:28.5.2-1~debian.13~trixie", "26.1.5-r0"] {
            assert_eq!(
                word.parse::<Version>().unwrap(),
                Version::Pinned(word.to_owned())
            );
        }
        for bad in [
            "",
            "newest",
            "v26.1",
            "26.1;id",
            "26 1",
            "-1",
            &"1".repeat(200),
        ] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }
}
