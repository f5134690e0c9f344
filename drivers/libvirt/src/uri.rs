//! libvirt's connection URIs (libvirt.org/uri.html), as far as the driver has to understand them.

use serde::{Deserialize, Serialize};

/// A URI, such as `qemu:///session` or `qemu+ssh://root@host/system`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Uri(String);

impl Uri {
    /// As it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// `qemu`, `test`.
    pub(crate) fn hypervisor(&self) -> &str {
        let scheme = self.scheme();
        scheme.split_once('+').map_or(scheme, |(name, _)| name)
    }

    /// True for the user's own daemon, whose VMs run as the user.
    pub(crate) fn is_session(&self) -> bool {
        self.path() == "/session"
    }

    /// True if the hypervisor may be on another computer.
    pub(crate) fn is_remote(&self) -> bool {
        !self.authority().is_empty()
    }

    /// The way to the hypervisor's computer by SSH, as `ssh -J` takes it: `[user@]host[:port]`.
    pub(crate) fn jump(&self) -> Option<String> {
        let (_, transport) = self.scheme().split_once('+')?;
        (matches!(transport, "ssh" | "libssh" | "libssh2") && self.is_remote())
            .then(|| self.authority().to_owned())
    }

    fn scheme(&self) -> &str {
        self.0.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    fn authority(&self) -> &str {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        rest.split(['/', '?']).next().unwrap_or_default()
    }

    fn path(&self) -> &str {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        let rest = rest.split('?').next().unwrap_or_default();
        rest.find('/').map_or("", |slash| &rest[slash..])
    }
}

impl TryFrom<String> for Uri {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let uri = Uri(text);
        if uri.0.len() > 1024 || uri.0.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("has blanks or control characters, or is too long".into());
        }
        let known = matches!(uri.hypervisor(), "qemu" | "test");
        if !known {
            return Err(
                "is none of qemu:///session, qemu:///system, qemu+ssh://[USER@]HOST/system".into(),
            );
        }
        if uri.hypervisor() == "qemu" && !matches!(uri.path(), "/session" | "/system") {
            return Err("ends neither in /session nor in /system".into());
        }
        // What starts with a dash would be an option of ssh's.
        if uri.authority().starts_with('-') || uri.authority().contains("@-") {
            return Err("names no computer".into());
        }
        Ok(uri)
    }
}

impl From<Uri> for String {
    fn from(uri: Uri) -> String {
        uri.0
    }
}

impl std::fmt::Display for Uri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Result<Uri, String> {
        Uri::try_from(text.to_owned())
    }

    #[test]
    fn a_hypervisor_behind_ssh_is_the_jump() {
        let remote = uri("qemu+ssh://root@big.example:2222/system?no_verify=1").unwrap();
        assert!(remote.is_remote() && !remote.is_session());
        assert_eq!(remote.jump().as_deref(), Some("root@big.example:2222"));
        assert_eq!(uri("qemu+tls://big/system").unwrap().jump(), None);
        let local = uri("qemu:///session").unwrap();
        assert!(local.is_session() && !local.is_remote());
        assert_eq!(local.jump(), None);
        // A socket of this computer's, not another computer.
        let socket = uri("qemu+unix:///system?socket=/run/x").unwrap();
        assert!(!socket.is_remote());
        assert_eq!(uri("test:///default").unwrap().hypervisor(), "test");
    }

    #[test]
    fn what_is_no_uri_of_ours_is_refused() {
        for bad in [
            "",
            "system",
            "xen:///system",
            "qemu:///",
            "qemu:///embed",
            "qemu:///system x",
            "qemu+ssh://-oProxyCommand=x/system",
            "qemu+ssh://root@-x/system",
            "qemu:///session\n",
        ] {
            assert!(uri(bad).is_err(), "{bad:?}");
        }
    }
}
