//! What the user says of the host.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use berth_driver_api::size::refuse;
use berth_driver_api::{Login, OptionKind, OptionSpec, Result, Spec};

/// The word that means no jump host, as in ssh_config(5).
const NONE: &str = "none";

/// Longer than any host name (RFC 1035, 2.3.4).
const LONGEST_HOST: usize = 255;

pub(crate) fn specs() -> Vec<OptionSpec> {
    let text = |name: &str, help: &str| OptionSpec::new(name, OptionKind::Text, "", help);
    vec![
        text(
            "host",
            "the host: a name of your ssh configuration, a host name or an address",
        ),
        text("user", "who to log in as, if ssh does not say it"),
        OptionSpec::new(
            "port",
            OptionKind::Integer,
            "",
            "the port, if ssh does not say it",
        ),
        text(
            "key",
            "the private key file that lets in, or agent; otherwise what ssh would try",
        ),
        text(
            "jump",
            "hosts to go over, as for ssh -J, or none; otherwise what ssh says",
        ),
        text(
            "host-key",
            "the host's public key (ssh-ed25519 AAAA…) or its SHA256:… fingerprint",
        ),
        OptionSpec::new(
            "install-key",
            OptionKind::Boolean,
            "false",
            "let a key of berth's own in from now on; rm takes it away",
        ),
    ]
}

/// The options, read and checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) host: String,
    pub(crate) user: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) key: Option<Login>,
    /// `Some` and empty for none.
    pub(crate) jump: Option<Vec<String>>,
    pub(crate) host_key: Option<HostKey>,
    pub(crate) install_key: bool,
}

/// What is known of the host's key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HostKey {
    /// `type base64`.
    Key(String),
    /// `SHA256:…`.
    Fingerprint(String),
}

impl Options {
    pub(crate) fn read(spec: &Spec) -> Result<Self> {
        let given = |name: &str| spec.options.get(name).map(String::as_str);
        let bad = |name: &str, reason: &str| {
            Err(refuse(
                name,
                given(name).unwrap_or_default().chars().take(120).collect(),
                reason.into(),
            ))
        };
        let host = given("host").unwrap_or_default();
        if host.is_empty() {
            return bad("host", "say which host: -o host=HOST");
        }
        if host.contains('@') {
            return bad("host", "the user goes into -o user=USER");
        }
        if host.len() > LONGEST_HOST || !is_plain(host, "._-:") {
            return bad("host", "is not a host name or an address");
        }
        let user = given("user");
        if user.is_some_and(|user| !is_plain(user, "._-+$\\")) {
            return bad("user", "is not a user's name");
        }
        let port = match given("port").map(str::parse::<u16>) {
            None => None,
            Some(Ok(port)) if port > 0 => Some(port),
            _ => return bad("port", "is not a port between 1 and 65535"),
        };
        let key = match given("key") {
            None => None,
            Some("agent") => Some(Login::Agent),
            Some(path) => match std::fs::canonicalize(expand(path)) {
                Ok(path) if path.is_file() => Some(Login::File(path)),
                _ => return bad("key", "there is no such file"),
            },
        };
        let jump = match given("jump") {
            None => None,
            Some(NONE) => Some(Vec::new()),
            Some(hops) => Some(hops.split(',').map(str::to_owned).collect::<Vec<_>>()),
        };
        let is_hop = |hop: &String| is_plain(hop, "._-+:@[]");
        if jump.iter().flatten().any(|hop| !is_hop(hop)) {
            return bad("jump", "is not [USER@]HOST[:PORT], or several with commas");
        }
        let host_key = match given("host-key").map(host_key) {
            None => None,
            Some(Some(host_key)) => Some(host_key),
            Some(None) => {
                return bad(
                    "host-key",
                    "is neither a public key (ssh-ed25519 AAAA…) nor a fingerprint (SHA256:…)",
                );
            }
        };
        Ok(Options {
            host: host.to_owned(),
            user: user.map(str::to_owned),
            port,
            key,
            jump,
            host_key,
            install_key: spec.option("install-key", "false") == "true",
        })
    }
}

/// Only characters that mean nothing to ssh and to shells.
fn is_plain(word: &str, more: &str) -> bool {
    !word.is_empty()
        && !word.starts_with('-')
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

fn host_key(text: &str) -> Option<HostKey> {
    if let Some(digest) = text.strip_prefix("SHA256:") {
        let bytes = STANDARD_NO_PAD.decode(digest).ok()?;
        return (bytes.len() == 32).then(|| HostKey::Fingerprint(text.to_owned()));
    }
    public_key(text).map(HostKey::Key)
}

/// `type base64` of a line that begins so; `None` if it is no public key. A key repeats its type inside (RFC 4253, 6.6).
pub(crate) fn public_key(line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    let (kind, key) = (words.next()?, words.next()?);
    let blob = STANDARD.decode(key).ok()?;
    let (length, rest) = blob.split_at_checked(4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    (rest.get(..length)? == kind.as_bytes()).then(|| format!("{kind} {key}"))
}

/// A path with the home folder in place of `~`, as ssh reads it: whatever HOME is.
pub(crate) fn expand(path: &str) -> PathBuf {
    let home = || {
        let user = nix::unistd::User::from_uid(nix::unistd::getuid());
        user.ok().flatten().map(|user| user.dir)
    };
    match path.strip_prefix("~/") {
        Some(rest) => home().map_or_else(|| path.into(), |home| home.join(rest)),
        None => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn read(options: &[(&str, &str)]) -> Result<Options> {
        Options::read(&Spec {
            cpus: 1,
            memory: 0,
            disk: 0,
            image: None,
            options: options
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        })
    }

    #[test]
    fn what_is_said_is_read() {
        let options = read(&[
            ("host", "fe80::1"),
            ("user", "me"),
            ("port", "2222"),
            ("jump", "a@gate:23,[::1]:24"),
            ("host-key", &format!("{KEY} a comment")),
            ("install-key", "true"),
        ])
        .unwrap();
        assert_eq!(options.port, Some(2222));
        assert_eq!(options.jump.unwrap(), ["a@gate:23", "[::1]:24"]);
        assert_eq!(options.host_key, Some(HostKey::Key(KEY.into())));
        assert!(options.install_key);
        let options = read(&[("host", "web"), ("jump", "none"), ("key", "agent")]).unwrap();
        assert_eq!(options.jump, Some(Vec::new()));
        assert_eq!(options.key, Some(Login::Agent));
    }

    #[test]
    fn what_would_be_read_as_something_else_is_refused() {
        for bad in [
            ("host", ""),
            ("host", "-oProxyCommand=id"),
            ("host", "a b"),
            ("host", "me@web"),
            ("host", "web;id"),
            ("user", "-l"),
            ("user", "a b"),
            ("port", "0"),
            ("port", "65536"),
            ("key", "/nowhere/at/all"),
            ("key", "/"),
            ("jump", ""),
            ("jump", "a,,b"),
            ("jump", "-oProxyCommand=id"),
            ("host-key", "SHA256:short"),
            (
                "host-key",
                "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ",
            ),
            ("host-key", "ssh-ed25519"),
            ("host-key", ""),
        ] {
            let mut options = vec![bad];
            if bad.0 != "host" {
                options.push(("host", "web"));
            }
            assert!(read(&options).is_err(), "{bad:?}");
        }
        assert!(read(&[]).is_err());
    }
}
