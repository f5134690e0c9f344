//! What the user's own ssh knows of the host: `ssh -G`, and the known_hosts files that it names.

use std::path::PathBuf;
use std::process::Stdio;

use berth_driver_api::{Error, Result, process};

use crate::options::{Options, expand};

/// How ssh would reach the host.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) hostname: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) jump: Vec<String>,
    /// Private key files, whether they are there or not.
    pub(crate) keys: Vec<PathBuf>,
    /// Whether the agent is not to be asked.
    pub(crate) no_agent: bool,
    /// Whether the files go before the agent's other keys.
    pub(crate) files_first: bool,
    /// The name under which known_hosts files record the host, if not its own.
    pub(crate) alias: Option<String>,
    pub(crate) known_hosts: Vec<PathBuf>,
}

impl Settings {
    /// Asks ssh. Nothing is connected to.
    pub(crate) async fn ask(options: &Options) -> Result<Self> {
        let mut command = process::command("ssh")?;
        // A host that is a pattern of `Match exec` runs the user's own commands, as ssh itself does.
        command.arg("-G");
        if let Some(user) = &options.user {
            command.arg("-l").arg(user);
        }
        if let Some(port) = options.port {
            command.arg("-p").arg(port.to_string());
        }
        command.arg("--").arg(&options.host).stderr(Stdio::piped());
        let printed = process::output(command).await?;
        let mut settings = Settings::parse(&String::from_utf8_lossy(&printed), &options.host)?;
        if let Some(jump) = &options.jump {
            settings.jump.clone_from(jump);
        }
        Ok(settings)
    }

    fn parse(printed: &str, host: &str) -> Result<Self> {
        let mut settings = Settings::default();
        let mut command = None;
        for line in printed.lines() {
            let Some((name, value)) = line.split_once(' ') else {
                continue;
            };
            match name {
                "hostname" => settings.hostname = value.to_owned(),
                "port" => settings.port = value.parse().unwrap_or_default(),
                "user" => settings.user = value.to_owned(),
                "proxyjump" if value != "none" => {
                    settings.jump = value.split(',').map(str::to_owned).collect();
                }
                "proxycommand" if value != "none" => command = Some(value),
                "identityfile" => settings.keys.push(expand(value)),
                "identitiesonly" => settings.files_first = value == "yes",
                "identityagent" => settings.no_agent = value == "none",
                "hostkeyalias" => settings.alias = Some(value.to_owned()),
                "userknownhostsfile" | "globalknownhostsfile" => settings
                    .known_hosts
                    .extend(value.split_ascii_whitespace().map(expand)),
                _ => {}
            }
        }
        let refused = |detail: &str| Err(Error::failed(format!("the host {host}"), detail));
        if settings.hostname.is_empty() || settings.port == 0 || settings.user.is_empty() {
            return refused("ssh -G does not tell how it is reached");
        }
        if command.is_some() && settings.jump.is_empty() {
            return refused(
                "your ssh configuration reaches it by a ProxyCommand, which berth does not follow: use ProxyJump",
            );
        }
        Ok(settings)
    }

    /// The name under which known_hosts files record the host (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
    pub(crate) fn recorded_name(&self) -> String {
        match (&self.alias, self.port) {
            (Some(alias), _) => alias.clone(),
            (None, 22) => self.hostname.clone(),
            (None, port) => format!("[{}]:{port}", self.hostname),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_prints_is_read() {
        let printed = "host web\nuser me\nhostname web.example.org\nport 2222\nproxyjump a@one,two:23\n\
                       identityfile /k/one\nidentityfile /k/two\nidentitiesonly yes\nhostkeyalias web-key\n\
                       userknownhostsfile /u/a /u/b\nglobalknownhostsfile /g\n";
        let settings = Settings::parse(printed, "web").unwrap();
        assert_eq!(settings.jump, ["a@one", "two:23"]);
        assert_eq!(settings.keys, [PathBuf::from("/k/one"), "/k/two".into()]);
        assert!(settings.files_first && !settings.no_agent);
        assert_eq!(settings.recorded_name(), "web-key");
        assert_eq!(settings.known_hosts.len(), 3);
        let plain = |port| format!("user me\nhostname h\nport {port}\nproxyjump none\n");
        let name = |port| Settings::parse(&plain(port), "h").unwrap().recorded_name();
        assert_eq!((name(22), name(23)), ("h".into(), "[h]:23".into()));
    }

    #[test]
    fn a_proxy_command_is_not_passed_over() {
        let printed = "user me\nhostname h\nport 22\nproxycommand nc %h %p\n";
        let error = Settings::parse(printed, "h").unwrap_err();
        assert!(error.to_string().contains("ProxyCommand"), "{error}");
        assert!(Settings::parse("", "h").is_err());
    }
}
