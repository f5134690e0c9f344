//! How images are named.

use std::str::FromStr;

use crate::oci::{Address, is_in_registry};
use crate::{Digest, Error};

/// What a user calls an image: `NAME`, `NAME:TAG`, `sha256:DIGEST`, or `oci://REGISTRY/REPOSITORY:TAG`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// A name, with a tag if it has one; or an image's name in a registry, whole. Safe as a file name but for its slashes.
    Name(String),
    /// Exactly this content.
    Digest(Digest),
}

const LONGEST: usize = 128;

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |reason| Error::InvalidReference {
            reference: text.to_owned(),
            reason,
        };
        if let Some(hex) = text.strip_prefix("sha256:") {
            return Digest::from_hex(hex)
                .map(Reference::Digest)
                .ok_or_else(|| invalid("sha256: is followed by 64 lower-case hex digits"));
        }
        if is_in_registry(text) {
            return Ok(Reference::Name(text.parse::<Address>()?.to_string()));
        }
        if text.len() > LONGEST {
            return Err(invalid("it is longer than 128 characters"));
        }
        let (name, tag) = match text.split_once(':') {
            Some((name, tag)) => (name, Some(tag)),
            None => (text, None),
        };
        for part in std::iter::once(name).chain(tag) {
            if !part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) {
                return Err(invalid("it starts with a lower-case letter or a digit"));
            }
            if !part.bytes().all(allowed) {
                return Err(invalid(
                    "it has lower-case letters, digits, dots, dashes and underscores only, and one colon before a tag",
                ));
            }
        }
        Ok(Reference::Name(text.to_owned()))
    }
}

fn allowed(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reference::Name(name) => f.pad(name),
            Reference::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tags_and_digests_are_told_apart() {
        assert_eq!(
            "debian-13-docker".parse::<Reference>().unwrap(),
            Reference::Name("debian-13-docker".into())
        );
        assert!("web:2026.11".parse::<Reference>().is_ok());
        assert_eq!(
            "oci://ghcr.io/acme/web".parse::<Reference>().unwrap(),
            Reference::Name("oci://ghcr.io/acme/web:latest".into())
        );
        let digest = format!("sha256:{}", "0a".repeat(32));
        let parsed: Reference = digest.parse().unwrap();
        assert!(matches!(parsed, Reference::Digest(_)));
        assert_eq!(parsed.to_string(), digest);
    }

    #[test]
    fn what_could_leave_the_store_or_mean_two_things_is_refused() {
        let long = "a".repeat(129);
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "A",
            "-a",
            "_a",
            ".a",
            "a:",
            ":a",
            "a:b:c",
            "a:/etc",
            "a b",
            "a\n",
            "ä",
            "sha256:",
            "sha256:abc",
            "sha256:latest",
            "oci://",
            "oci://../..",
            "oci://ghcr.io/a%b",
            &long,
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(128).parse::<Reference>().is_ok());
    }
}
