//! Docker's own package repositories, or a mirror that is laid out as they are.

use crate::{Error, Result, openpgp};

/// Where Docker publishes its packages.
const BASE: &str = "https://download.docker.com";

/// The key that signs them for apt, as Docker's installation pages name it.
const APT_KEY: &str = "9DC858229FC7DD38854AE2D88D81803C0EBFCD88";

/// The key that signs them for dnf and zypper.
const RPM_KEY: &str = "060A61C51B558A7F742B77AAC52FEB6B621E9F35";

/// Longer than any address of a repository.
const URL_LIMIT: usize = 512;

/// Where upstream's packages come from, and whose signature they must bear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    base: String,
    apt_key: String,
    rpm_key: String,
}

impl Default for Upstream {
    fn default() -> Self {
        Upstream {
            base: BASE.to_owned(),
            apt_key: APT_KEY.to_owned(),
            rpm_key: RPM_KEY.to_owned(),
        }
    }
}

impl Upstream {
    /// A mirror at `base`. It must be signed by Docker's keys, or by the one with the fingerprint `key`.
    ///
    /// # Errors
    /// [`Error::Word`] if one of them is not what it should be.
    pub fn mirror(base: &str, key: Option<&str>) -> Result<Self> {
        // It becomes a word in the machine's repository files, where no quoting is known.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/@%+[]".contains(c);
        let base = base.trim_end_matches('/');
        let host = base
            .strip_prefix("https://")
            .or_else(|| base.strip_prefix("http://"));
        if !host.is_some_and(|host| !host.is_empty() && !host.starts_with('/'))
            || base.len() > URL_LIMIT
            || !base.chars().all(plain)
        {
            return Err(Error::Word {
                what: "a repository's address",
                word: base.chars().take(URL_LIMIT).collect(),
                known: "http://HOST/PATH, https://HOST/PATH",
            });
        }
        let mut upstream = Upstream {
            base: base.to_owned(),
            ..Upstream::default()
        };
        if let Some(key) = key {
            let fingerprint = openpgp::fingerprint_word(key).ok_or_else(|| Error::Word {
                what: "a key's fingerprint",
                word: key.chars().take(80).collect(),
                known: "40 hexadecimal digits",
            })?;
            upstream.apt_key.clone_from(&fingerprint);
            upstream.rpm_key = fingerprint;
        }
        Ok(upstream)
    }

    /// Its address, without a slash at the end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The fingerprint of the key for apt.
    pub(crate) fn apt_key(&self) -> &str {
        &self.apt_key
    }

    /// The fingerprint of the key for dnf and zypper.
    pub(crate) fn rpm_key(&self) -> &str {
        &self.rpm_key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_keeps_dockers_keys_unless_another_is_named() {
        let mirror = Upstream::mirror("http://mirror:8080/docker/", None).unwrap();
        assert_eq!(mirror.base(), "http://mirror:8080/docker");
        assert_eq!(mirror.apt_key(), APT_KEY);
        let own = "0123 4567 89ab cdef 0123  4567 89ab cdef 0123 4567";
        let mirror = Upstream::mirror("https://m", Some(own)).unwrap();
        assert_eq!(mirror.apt_key(), "0123456789ABCDEF0123456789ABCDEF01234567");
        assert_eq!(mirror.rpm_key(), mirror.apt_key());
    }

    #[test]
    fn what_is_no_address_or_fingerprint_is_refused() {
        for bad in [
            "",
            "m",
            "ftp://m",
            "https://",
            "https:///x",
            "http://m x",
            "http://m\n[x]\n",
            "http://m'",
        ] {
            assert!(Upstream::mirror(bad, None).is_err(), "{bad}");
        }
        for bad in ["", "9DC85822", &"g".repeat(40), &"a".repeat(41)] {
            assert!(Upstream::mirror("http://m", Some(bad)).is_err(), "{bad}");
        }
    }
}
