//! Reaching a machine over other hosts, as OpenSSH's ProxyJump does.
//!
//! The way there is the user's own: their ssh carries the connection (`ssh -W`), so that their configuration, keys,
//! agent and known_hosts count for the hosts on the way. What comes out at the end is a plain stream to the machine,
//! on which berth speaks SSH itself, with the machine's key and pinned host key.

use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;

use berth_driver_api::process;
use serde::{Deserialize, Serialize};
use tokio::io::{self, AsyncBufReadExt, AsyncReadExt, BufReader, Join};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::failed::Failed;
use crate::{Error, Result};

/// How long the hosts on the way may take, login included, until the machine greets.
const PASSAGE: Duration = Duration::from_secs(60);

/// How much of what ssh says is kept.
const WORDS: u64 = 16 << 10;

/// How long ssh may take to end once it has closed its output.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A host on the way to a machine, as `ssh -J` takes it: a name or alias of the user's ssh configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// Host name, alias or IP address.
    pub host: String,
    /// TCP port, if the user's configuration does not say it.
    pub port: Option<u16>,
    /// The user to log in as, if the user's configuration does not say it.
    pub user: Option<String>,
}

impl FromStr for Hop {
    type Err = Error;

    /// Reads `[user@]host[:port]`, where an IPv6 address with a port stands in brackets. Only characters that mean
    /// nothing to ssh's configuration and to a shell are accepted.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::Hop { hop: text.into() };
        let (user, address) = match text.rsplit_once('@') {
            Some((user, address)) => (Some(user.to_owned()), address),
            None => (None, text),
        };
        let (host, port) = if let Some(rest) = address.strip_prefix('[') {
            let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
            let port = match port {
                "" => None,
                port => Some(port.strip_prefix(':').ok_or_else(wrong)?),
            };
            (host, port)
        } else if address.matches(':').count() == 1 {
            let (host, port) = address.split_once(':').ok_or_else(wrong)?;
            (host, Some(port))
        } else {
            (address, None)
        };
        let plain = |word: &str, more: &str| {
            !word.is_empty()
                && !word.starts_with('-')
                && word
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if !plain(host, "._-:") || user.as_deref().is_some_and(|user| !plain(user, "._-+")) {
            return Err(wrong());
        }
        let port = port.map(|port| port.parse().map_err(|_| wrong()));
        Ok(Hop {
            host: host.to_owned(),
            port: port.transpose()?,
            user,
        })
    }
}

impl std::fmt::Display for Hop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match (self.port, self.host.contains(':')) {
            (Some(port), true) => write!(f, "[{}]:{port}", self.host),
            (Some(port), false) => write!(f, "{}:{port}", self.host),
            (None, true) => write!(f, "[{}]", self.host),
            (None, false) => f.write_str(&self.host),
        }
    }
}

/// What `ssh` is given to reach `destination` (`[host]:port`) over `hops`, the nearest first; empty without hops.
pub fn jump_arguments(hops: &[Hop], destination: &str) -> Vec<String> {
    let Some((last, before)) = hops.split_last() else {
        return Vec::new();
    };
    let mut arguments = vec!["-W".to_owned(), destination.to_owned()];
    if !before.is_empty() {
        let before: Vec<String> = before.iter().map(ToString::to_string).collect();
        arguments.extend(["-J".to_owned(), before.join(",")]);
    }
    if let Some(user) = &last.user {
        arguments.extend(["-l".to_owned(), user.clone()]);
    }
    if let Some(port) = last.port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    arguments.push(last.host.clone());
    arguments
}

/// The stream to the machine; it ends with the ssh that carries it.
pub(super) type Passage = Join<BufReader<ChildStdout>, ChildStdin>;

/// Opens a way to `host` over `hops`, on which the machine has begun to speak. The way lasts as long as the child.
pub(super) async fn pass(hops: &[Hop], host: &str, port: u16) -> Result<(Passage, Child), Failed> {
    let over = hops
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",");
    let refused = |detail: String| {
        Failed::Final(Error::JumpHost {
            hop: over.clone(),
            detail,
        })
    };
    let mut command = process::command("ssh").map_err(|error| refused(error.to_string()))?;
    command
        // Nobody may be there to answer a question, and the terminal's Ctrl-C is berth's to deal with.
        .args(["-o", "BatchMode=yes", "-o", "ControlMaster=no"])
        .args(jump_arguments(hops, &format!("[{host}]:{port}")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command
        .spawn()
        .map_err(|error| refused(error.to_string()))?;
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(refused("ssh has no input or output".into()));
    };
    // Read to the end, so that ssh never waits for room to speak.
    let words = tokio::spawn(async move {
        let mut words = Vec::new();
        let mut stderr = stderr;
        let _ = (&mut stderr).take(WORDS).read_to_end(&mut words).await;
        let _ = io::copy(&mut stderr, &mut io::sink()).await;
        words
    });
    let mut stdout = BufReader::new(stdout);
    match timeout(PASSAGE, stdout.fill_buf()).await {
        Ok(Ok(greeting)) if !greeting.is_empty() => Ok((io::join(stdout, stdin), child)),
        Ok(_) => {
            let words = timeout(LAST_WORDS, words).await;
            let words = words.ok().and_then(Result::ok).unwrap_or_default();
            let words = process::last_lines(&words, 3);
            Err(match is_final(&words) {
                true => refused(words),
                false => Failed::Passing(format!("over {over}: {words}")),
            })
        }
        Err(_) => Err(Failed::Passing(format!(
            "over {over}: nothing was heard from the machine"
        ))),
    }
}

/// Whether trying again changes nothing; these are OpenSSH's own words (ssh.c, sshconnect2.c, channels.c).
fn is_final(words: &str) -> bool {
    [
        "Host key verification failed",
        "Permission denied",
        "administratively prohibited",
        "Bad configuration option",
        "Too many authentication failures",
    ]
    .iter()
    .any(|known| words.contains(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_are_read_and_written() {
        let read = |text: &str| -> (Option<String>, String, Option<u16>) {
            let hop: Hop = text.parse().unwrap();
            assert_eq!(hop.to_string().parse::<Hop>().unwrap(), hop);
            (hop.user, hop.host, hop.port)
        };
        assert_eq!(read("gate"), (None, "gate".into(), None));
        assert_eq!(
            read("me@gate:2222"),
            (Some("me".into()), "gate".into(), Some(2222))
        );
        assert_eq!(read("[::1]:23"), (None, "::1".into(), Some(23)));
        assert_eq!(
            read("me@fe80::1"),
            (Some("me".into()), "fe80::1".into(), None)
        );
        for bad in [
            "",
            "@gate",
            "gate:",
            "gate:x",
            "gate:70000",
            "a b",
            "[::1",
            "[::1]23",
            "-oProxyCommand=x",
            "-l@gate",
            "a,b",
            "gate;id",
            "$(id)@gate",
            "gate%h",
            "gate\n",
        ] {
            assert!(bad.parse::<Hop>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ssh_goes_over_all_of_them() {
        let hops: Vec<Hop> = ["a@one", "two:23"].map(|hop| hop.parse().unwrap()).into();
        assert_eq!(
            jump_arguments(&hops, "[inner]:22").join(" "),
            "-W [inner]:22 -J a@one -p 23 two"
        );
        assert!(jump_arguments(&[], "[inner]:22").is_empty());
    }
}
