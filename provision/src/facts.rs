//! Everything that the steps need to know of a machine, asked in one round trip: under emulation each costs a
//! good part of a second.

use std::collections::HashMap;

use berth_driver_api::process::last_lines;

use crate::daemon_json::DAEMON_JSON;
use crate::os::{self, Os};
use crate::service::{Init, RESTART_MARK, Service};
use crate::ssh::Session;
use crate::wanted::Kind;
use crate::{Error, Result, bundle, environment, family};

/// One limit of the kernel's a line.
const LIMITS: &str = "/run/berth/limits";

/// A settings file longer than this is not one.
const SETTINGS_LIMIT: usize = 1024 * 1024;

/// What a static release of Docker's, which has no package, is called among the packages.
pub(crate) const RELEASE: &str = "docker-release";

/// Between the answers: a character that none of the files may hold.
const MARK: char = '\u{1e}';

/// What a machine said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) os: Os,
    pub(crate) arch: String,
    pub(crate) is_root: bool,
    pub(crate) uid: u32,
    /// For everyone but root: the command before one that is to be root's, if it needs no password; otherwise what
    /// it says.
    pub(crate) sudo: Option<Result<&'static str, String>>,
    pub(crate) packages: Vec<Package>,
    /// The content of daemon.json, if there is one.
    pub(crate) daemon_json: Option<Vec<u8>>,
    /// The engine's environment as berth wrote it, if there is one.
    pub(crate) environment: Option<Vec<u8>>,
    /// Whether the engine's service reads it.
    pub(crate) reads_environment: bool,
    pub(crate) in_swarm: bool,
    /// What starts services, if that is known.
    pub(crate) init: Option<Init>,
    pub(crate) docker: Service,
    /// The user's own, if the user is not root.
    pub(crate) podman: Service,
    /// Whether the engine runs with other settings than those on disk.
    pub(crate) settings_changed: bool,
    /// Whether the user is in the group that may use Docker's socket.
    pub(crate) in_docker_group: bool,
    /// What the machine's kernel cannot do for containers, in its own words: berth's initrd writes them down.
    pub(crate) limits: Vec<String>,
}

/// An engine's package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) held: bool,
}

impl Facts {
    /// Asks the machine.
    pub(crate) async fn gather(session: &Session) -> Result<Self> {
        let printed = session.run("looking around", &script()).await?;
        Ok(Self::parse(&printed))
    }

    /// The engine's package, whoever made it.
    pub(crate) fn engine(&self, kind: Kind) -> Option<&Package> {
        let named = |package: &&Package| {
            (kind == Kind::Docker && package.name == RELEASE)
                || family::ALL
                    .iter()
                    .any(|family| family.engine_names(kind).contains(&&*package.name))
        };
        self.packages.iter().find(named)
    }

    /// An engine's service.
    pub(crate) fn service(&self, kind: Kind) -> Service {
        match kind {
            Kind::Docker => self.docker,
            Kind::Podman => self.podman,
            Kind::None => Service::default(),
        }
    }

    /// How to become root there: nothing, `sudo -n ` or `doas -n `.
    pub(crate) fn prefix(&self, session: &Session) -> Result<&'static str> {
        match &self.sudo {
            _ if self.is_root => Ok(""),
            Some(Ok(prefix)) => Ok(prefix),
            other => Err(Error::Sudo {
                host: session.host().to_owned(),
                user: session.user().to_owned(),
                detail: match other {
                    Some(Err(words)) => words.clone(),
                    _ => "it did not say why".to_owned(),
                },
            }),
        }
    }

    fn parse(printed: &[u8]) -> Self {
        let mut answers: HashMap<&[u8], &[u8]> = HashMap::new();
        for section in printed.split(|byte| *byte == MARK as u8) {
            let end = section.iter().position(|byte| *byte == b'\n');
            if let Some((name, answer)) = end.and_then(|end| section.split_at_checked(end)) {
                answers.insert(name, answer.get(1..).unwrap_or_default());
            }
        }
        let bytes = |name: &str| answers.get(name.as_bytes()).copied().unwrap_or_default();
        let word = |name: &str| {
            let first = last_lines(bytes(name).get(..256).unwrap_or(bytes(name)), 1);
            first.trim().to_owned()
        };
        let uid = word("uid").parse().ok();
        let is_root = uid == Some(0);
        Facts {
            os: Os::parse(bytes("os")),
            arch: word("arch"),
            is_root,
            uid: uid.unwrap_or(u32::MAX),
            sudo: (!is_root).then(|| match word("sudo").as_str() {
                "sudo" => Ok("sudo -n "),
                "doas" => Ok("doas -n "),
                "missing" => {
                    Err("neither sudo nor doas is installed; log in as root, or install one".into())
                }
                words => Err(words.to_owned()),
            }),
            packages: packages(bytes("packages")),
            daemon_json: answers.get(&b"daemon"[..]).map(|found| found.to_vec()),
            environment: answers.get(&b"environment"[..]).map(|found| found.to_vec()),
            reads_environment: bytes("dropin") == environment::DROP_IN_TEXT.as_bytes(),
            in_swarm: word("swarm") == "yes",
            init: match word("init").as_str() {
                "systemd" => Some(Init::Systemd),
                "openrc" => Some(Init::OpenRc),
                _ => None,
            },
            docker: Service::parse(bytes("docker")),
            podman: Service::parse(bytes("podman")),
            settings_changed: word("restart") == "yes",
            in_docker_group: word("groups").split(' ').any(|group| group == "docker"),
            limits: String::from_utf8_lossy(bytes("limits"))
                .lines()
                .map(|line| line.chars().filter(|c| !c.is_control()).take(200).collect())
                .filter(|line: &String| !line.trim().is_empty())
                .take(20)
                .collect(),
        }
    }
}

/// `state name version` lines, where the state is dpkg's: wanted (i, h) and actual (i).
fn packages(printed: &[u8]) -> Vec<Package> {
    let text = String::from_utf8_lossy(printed);
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (state, name, version) = (words.next()?, words.next()?, words.next()?);
            (state.get(1..2) == Some("i")).then(|| Package {
                name: name.to_owned(),
                version: version.chars().filter(|c| c.is_ascii_graphic()).collect(),
                held: state.starts_with('h'),
            })
        })
        .take(100)
        .collect()
}

fn script() -> String {
    let mut packages: Vec<&str> = family::ALL
        .iter()
        .map(|family| family.packages_script())
        .collect();
    // All families with rpm ask the same.
    packages.dedup();
    let services = |init: Init| {
        let of = |kind| format!("m {kind}; {}", init.look_script(kind));
        format!("{}; {}", of(Kind::Docker), of(Kind::Podman))
    };
    format!(
        // Each program that is started costs an emulated guest up to a third of a second.
        "export LC_ALL=C; m() {{ printf '\\036%s\\n' \"$1\"; }}; u=$(id -u); r=; \
         m os; head -c {os} /etc/os-release 2>/dev/null || head -c {os} /usr/lib/os-release 2>/dev/null; \
         m arch; uname -m; m uid; echo \"$u\"; \
         if [ \"$u\" != 0 ]; then m groups; id -nG; m sudo; e=missing; \
         for s in sudo doas; do command -v $s >/dev/null || continue; \
         if e=$($s -n true 2>&1); then e=$s; r=\"$s -n\"; break; fi; done; echo \"${{e:-it refuses}}\"; fi; \
         m packages; if [ -e {release} ]; then read -r v <{release}; echo \"hi {RELEASE} $v\"; fi; {{ {packages}; }}; \
         if $r test -e {DAEMON_JSON}; then m daemon; $r head -c {settings} {DAEMON_JSON}; fi; \
         if $r test -e {environment}; then m environment; $r head -c {settings} {environment}; fi; \
         if $r test -e {drop_in}; then m dropin; $r head -c 4096 {drop_in}; fi; \
         m swarm; $r test -e /var/lib/docker/swarm/docker-state.json && echo yes; \
         m restart; test -e {RESTART_MARK} && echo yes; \
         if test -e {LIMITS}; then m limits; head -c 4096 {LIMITS}; fi; \
         if [ -d /run/systemd/system ]; then m init; echo systemd; {systemd}; \
         elif [ -d /run/openrc ]; then m init; echo openrc; {openrc}; fi; true",
        os = os::SIZE_LIMIT,
        settings = SETTINGS_LIMIT,
        environment = environment::FILE,
        drop_in = environment::DROP_IN,
        release = bundle::PROGRAMS_MARK,
        packages = packages.join("; "),
        systemd = services(Init::Systemd),
        openrc = services(Init::OpenRc),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let facts = Facts::parse(
            b"\x1eos\nID=debian\n\x1earch\nx86_64\n\x1euid\n1000\n\x1egroups\nme docker\n\x1esudo\nsudo\n\x1einit\nsystemd\n\
              \x1epackages\nhi  docker.io 26.1.5+dfsg1-9\nrc  podman 5.4\nii  docker-ce 5:28\n\
              \x1edaemon\n{}\x1elimits\none CPU\n\x1eswarm\n\x1edocker\nActiveState=active\nUnitFileState=enabled\n",
        );
        assert_eq!(facts.os.id, "debian");
        assert_eq!(facts.arch, "x86_64");
        assert!(!facts.is_root && facts.in_docker_group && facts.uid == 1000);
        assert_eq!(facts.init, Some(Init::Systemd));
        assert_eq!(facts.sudo, Some(Ok("sudo -n ")));
        let docker = facts.engine(Kind::Docker).unwrap();
        assert!(docker.held && docker.name == "docker.io" && docker.version == "26.1.5+dfsg1-9");
        assert!(facts.engine(Kind::Podman).is_none());
        assert_eq!(facts.daemon_json.as_deref(), Some(&b"{}"[..]));
        assert!(!facts.in_swarm && facts.docker.active && facts.docker.enabled);
        assert_eq!(facts.podman, Service::default());
        assert_eq!(facts.limits, ["one CPU"]);
    }

    #[test]
    fn garbage_says_nothing() {
        for garbage in [
            &b""[..],
            b"\x1e",
            b"\x1e\x1e\n\x1epackages\nx\n\xff\xfe i i\n",
            b"hello",
        ] {
            let facts = Facts::parse(garbage);
            assert!(!facts.is_root && facts.packages.is_empty() && facts.daemon_json.is_none());
        }
    }

    #[test]
    fn the_script_runs_in_a_plain_shell() {
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(script())
            .output()
            .unwrap();
        assert!(output.status.success());
        assert!(
            output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let facts = Facts::parse(&output.stdout);
        assert_eq!(facts.arch, std::env::consts::ARCH);
        assert!(!facts.os.id.is_empty());
    }
}
