//! Where an image is kept in a registry: `oci://REGISTRY/REPOSITORY[:TAG|@sha256:DIGEST]`.

use std::str::FromStr;

use oci_spec::distribution;
use reqwest::Url;

use crate::fetch::is_safe;
use crate::{Digest, Error};

/// What such an address begins with.
const SCHEME: &str = "oci://";

/// In bytes. Stored, it is the name of a file.
const LONGEST: usize = 240;

/// Docker's own registry is named after one host, served by another, and has its credentials filed under a third.
const HUB: &str = "docker.io";
const HUB_SERVER: &str = "registry-1.docker.io";
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// True for an image in a registry: what begins with `oci://`.
pub fn is_in_registry(reference: &str) -> bool {
    reference.starts_with(SCHEME)
}

/// An image's place in a registry, as `docker push` names those of containers; `oci://` before it may be left out
/// where nothing else is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    registry: String,
    repository: String,
    version: Version,
}

/// Which of a repository's images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Version {
    /// Whatever the registry has under the name.
    Tag(String),
    /// The manifest of this digest.
    Digest(Digest),
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bare = text.strip_prefix(SCHEME).unwrap_or(text);
        // What lies before an @ without a digest behind it may be a password.
        let (login, shown) = match bare.rsplit_once('@') {
            Some((_, after)) if !after.starts_with("sha256:") => (true, after),
            _ if bare.is_empty() => (false, text),
            _ => (false, bare),
        };
        let invalid = |reason| Error::InvalidReference {
            reference: shown.to_owned(),
            reason,
        };
        if login {
            return Err(invalid("a name and a password go to `docker login`"));
        }
        if bare.len() > LONGEST - SCHEME.len() {
            return Err(invalid("it is longer than 234 characters"));
        }
        let parsed = bare.parse::<distribution::Reference>().map_err(|_| {
            invalid("an image in a registry is REGISTRY/REPOSITORY, in lower case, and :TAG or @sha256:DIGEST")
        })?;
        let version = match (parsed.digest(), parsed.tag()) {
            (Some(digest), _) => Version::Digest(
                Digest::try_from(digest.to_owned())
                    .map_err(|_| invalid("sha256: is followed by 64 lower-case hex digits"))?,
            ),
            (None, tag) => Version::Tag(tag.unwrap_or("latest").to_owned()),
        };
        let address = Address {
            registry: parsed.registry().to_owned(),
            repository: parsed.repository().to_owned(),
            version,
        };
        match Url::parse(&format!("https://{}/", address.server())) {
            Ok(_) => Ok(address),
            Err(_) => Err(invalid(
                "its registry is not the name of a host, with or without a port",
            )),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.registry, self.repository)?;
        match &self.version {
            Version::Tag(tag) => write!(f, ":{tag}"),
            Version::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

impl Address {
    pub(crate) fn version(&self) -> &Version {
        &self.version
    }

    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    /// The registry as users name it.
    pub(crate) fn registry(&self) -> &str {
        &self.registry
    }

    /// The same repository's image with this manifest.
    pub(crate) fn at(&self, manifest: Digest) -> Address {
        Address {
            version: Version::Digest(manifest),
            ..self.clone()
        }
    }

    /// What docker files the registry's credentials under.
    pub(crate) fn credentials_key(&self) -> &str {
        match self.registry.as_str() {
            HUB => HUB_KEY,
            other => other,
        }
    }

    /// The address of the registry's API (OCI Distribution Specification 1.1) for this repository. It is plain HTTP for
    /// a registry on this computer, and for any other one only if that was asked for.
    pub(crate) fn api(&self, plain_http: bool) -> Result<Url, Error> {
        let of = |scheme: &str| {
            let text = format!("{scheme}://{}/v2/{}/", self.server(), self.repository);
            Url::parse(&text).map_err(|_| Error::InvalidReference {
                reference: self.to_string(),
                reason: "it is not an address",
            })
        };
        let plain = of("http")?;
        match plain_http || is_safe(&plain) {
            true => Ok(plain),
            false => of("https"),
        }
    }

    fn server(&self) -> &str {
        match self.registry.as_str() {
            HUB => HUB_SERVER,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(text: &str) -> String {
        let address: Address = text.parse().unwrap();
        address.api(false).unwrap().to_string()
    }

    #[test]
    fn images_are_named_as_docker_names_them() {
        let shown = |text: &str| text.parse::<Address>().unwrap().to_string();
        assert_eq!(shown("ghcr.io/acme/web"), "oci://ghcr.io/acme/web:latest");
        assert_eq!(
            shown("oci://localhost:5000/web:1.2_X"),
            "oci://localhost:5000/web:1.2_X"
        );
        assert_eq!(shown("acme/web:2"), "oci://docker.io/acme/web:2");
        let digest = format!("sha256:{}", "0a".repeat(32));
        let both = shown(&format!("ghcr.io/acme/web:1@{digest}"));
        assert_eq!(both, format!("oci://ghcr.io/acme/web@{digest}"));
        assert_eq!(shown(&both), both);
    }

    #[test]
    fn only_a_registry_on_this_computer_is_spoken_to_in_the_clear() {
        assert_eq!(api("127.0.0.1:5000/web"), "http://127.0.0.1:5000/v2/web/");
        assert_eq!(api("localhost:5000/web"), "http://localhost:5000/v2/web/");
        assert_eq!(api("10.0.0.1:5000/web"), "https://10.0.0.1:5000/v2/web/");
        assert_eq!(api("acme/web"), "https://registry-1.docker.io/v2/acme/web/");
        let address: Address = "registry.lan:5000/web".parse().unwrap();
        assert!(
            address
                .api(true)
                .unwrap()
                .as_str()
                .starts_with("http://registry.lan")
        );
    }

    #[test]
    fn what_is_no_image_in_a_registry_is_refused_and_no_password_is_repeated() {
        let long = format!("ghcr.io/{}", "a".repeat(240));
        for bad in [
            "",
            "ghcr.io/",
            "ghcr.io/Acme/web",
            "ghcr.io/../web",
            "ghcr.io/acme/web:",
            "ghcr.io/acme/web:a b",
            "ghcr.io/acme/web@sha256:00",
            "ghcr.io:99999/acme/web",
            "https://ghcr.io/acme/web",
            &long,
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?}");
        }
        let told = "me:secret@ghcr.io/acme/web".parse::<Address>().unwrap_err();
        assert!(!told.to_string().contains("secret"), "{told}");
    }
}
