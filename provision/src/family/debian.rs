//! Debian, Ubuntu and what is like them: apt and dpkg.

use super::{Family, Verdict};
use crate::ssh::quote;
use crate::wanted::Kind;

pub(super) struct Debian;

/// How apt is called: it asks nothing, waits for its lock, keeps changed configuration files, and uses no terminal.
const APT: &str = "DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 \
     -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
     -o Acquire::Retries=2 -o Acquire::http::Timeout=30";

/// What apt says of causes that pass, and what they are.
const PASSING: &[(&str, &str)] = &[
    (
        "Could not get lock",
        "another program is installing packages",
    ),
    (
        "Unable to acquire the dpkg",
        "another program is installing packages",
    ),
    ("Unable to lock", "another program is installing packages"),
    (
        "is locked by another process",
        "another program is installing packages",
    ),
    ("Temporary failure resolving", "names do not resolve yet"),
    ("Could not resolve", "names do not resolve yet"),
    ("Network is unreachable", "there is no network yet"),
    ("Could not connect", "the mirror does not answer"),
    ("Unable to connect", "the mirror does not answer"),
    (
        "Cannot initiate the connection",
        "the mirror does not answer",
    ),
    ("Connection timed out", "the mirror does not answer"),
    ("Connection failed", "the mirror does not answer"),
    ("Connection refused", "the mirror does not answer"),
    ("Connection reset", "the mirror does not answer"),
    ("Error reading from server", "the mirror does not answer"),
    ("Hash Sum mismatch", "the mirror is being updated"),
    ("File has unexpected size", "the mirror is being updated"),
    ("Mirror sync in progress", "the mirror is being updated"),
    ("500  Internal Server Error", "the mirror is in trouble"),
    ("502  Bad Gateway", "the mirror is in trouble"),
    ("503  Service Unavailable", "the mirror is in trouble"),
    ("504  Gateway", "the mirror is in trouble"),
    ("429  Too Many", "the mirror is in trouble"),
    ("is not valid yet", "the machine's clock is behind"),
];

impl Debian {
    fn packages(kind: Kind) -> &'static str {
        match kind {
            // Docker 20.10 runs no container where the kernel has AppArmor and its parser is missing.
            Kind::Docker => "docker.io iptables apparmor",
            Kind::Podman => "podman",
            Kind::None => "",
        }
    }
}

impl Family for Debian {
    fn name(&self) -> &'static str {
        "debian"
    }

    fn includes(&self, id: &str) -> bool {
        matches!(id, "debian" | "ubuntu")
    }

    fn packages_script(&self) -> &'static str {
        "command -v dpkg-query >/dev/null && dpkg-query -W \
         -f='${db:Status-Abbrev} ${Package} ${Version}\\n' docker.io docker-ce podman 2>/dev/null"
    }

    fn engine_package(&self, kind: Kind) -> &'static str {
        match kind {
            Kind::Docker => "docker.io",
            Kind::Podman => "podman",
            Kind::None => "",
        }
    }

    fn wait_script(&self) -> &'static str {
        // apt's own timers are waited for by its lock.
        "command -v cloud-init >/dev/null && timeout 900 cloud-init status --wait >/dev/null 2>&1; true"
    }

    fn install_script(&self, kind: Kind, version: Option<&str>) -> String {
        let package = self.engine_package(kind);
        let version = version.map(|version| quote(&format!("={version}")));
        let version = version.unwrap_or_default();
        // The lists may be partly old when a repository that has nothing to do with this is broken; what matters
        // is whether the packages can be installed. docker-cli is a package of its own from Debian 13 on.
        let mut script = format!(
            "v={version}; {APT} update; set -- {};",
            Self::packages(kind)
        );
        if kind == Kind::Docker {
            script += " [ -z \"$(apt-cache -q madison docker-cli 2>/dev/null)\" ] || set -- \"$@\" docker-cli;";
        }
        script += &format!(
            " for p; do shift; case $p in {package}|docker-cli) p=$p$v;; esac; set -- \"$@\" \"$p\"; done; \
             {APT} --no-install-recommends --allow-downgrades --allow-change-held-packages install \"$@\""
        );
        script
    }

    fn pin_script(&self, kind: Kind) -> String {
        let package = self.engine_package(kind);
        format!(
            "apt-mark hold {package}; ! dpkg-query -W docker-cli >/dev/null 2>&1 || apt-mark hold docker-cli"
        )
    }

    fn offers_script(&self, kind: Kind) -> String {
        let package = self.engine_package(kind);
        // Only when nothing is on offer does it matter whether the lists could be fetched.
        format!(
            "{APT} -o APT::Update::Error-Mode=any update >&2; s=$?; \
             o=$(apt-cache -q madison {package}) && [ -n \"$o\" ] && echo \"$o\" && exit; exit $s"
        )
    }

    fn offered(&self, printed: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(printed);
        let mut versions: Vec<String> = Vec::new();
        for line in text.lines() {
            let mut columns = line.split('|').map(str::trim);
            let (Some(_), Some(version), Some(_)) =
                (columns.next(), columns.next(), columns.next())
            else {
                continue;
            };
            let plain = |c: char| c.is_ascii_alphanumeric() || ".+-~:".contains(c);
            if !version.is_empty()
                && version.chars().all(plain)
                && !versions.iter().any(|known| known == version)
            {
                versions.push(version.to_owned());
            }
        }
        versions
    }

    fn verdict(&self, words: &str) -> Verdict {
        if words.contains("dpkg was interrupted") || words.contains("dpkg --configure -a") {
            return Verdict::Mend(
                "DEBIAN_FRONTEND=noninteractive dpkg --force-confdef --force-confold --configure -a",
            );
        }
        let found = PASSING.iter().find(|(said, _)| words.contains(said));
        found.map_or(Verdict::Final, |(_, why)| Verdict::Passing(why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apts_words_are_understood() {
        let verdict = |words| Debian.verdict(words);
        for passing in [
            "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 312 (apt-get)",
            "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?",
            "dpkg: error: dpkg frontend lock is locked by another process",
            "E: Failed to fetch http://deb.debian.org/x.deb  Temporary failure resolving 'deb.debian.org'",
            "E: Failed to fetch http://m/x.deb  503  Service Unavailable [IP: 1.2.3.4 80]",
            "E: Failed to fetch http://m/Packages  Hash Sum mismatch",
            "E: Release file for http://m is not valid yet (invalid for another 3h).",
        ] {
            assert!(matches!(verdict(passing), Verdict::Passing(_)), "{passing}");
        }
        for hopeless in [
            "E: Unable to locate package docker.io",
            "E: Failed to fetch http://m/x.deb  404  Not Found [IP: 1.2.3.4 80]",
            "E: You don't have enough free space in /var/cache/apt/archives/.",
            "E: Version '1.2' for 'docker.io' was not found",
            "E: Release file for http://m is expired (invalid since 3d).",
            "",
        ] {
            assert_eq!(verdict(hopeless), Verdict::Final, "{hopeless}");
        }
        let cut = "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.";
        assert!(matches!(verdict(cut), Verdict::Mend(_)));
    }

    #[test]
    fn offers_are_read_from_madison() {
        let printed = b" docker.io | 26.1.5+dfsg1-9+b9 | http://deb.debian.org/debian trixie/main amd64 Packages\n \
             docker.io | 26.1.5+dfsg1-9+b9 | http://mirror trixie/main amd64 Packages\n \
             docker.io | 20.10.24+dfsg1-1 | http://deb.debian.org/debian bookworm/main amd64 Packages\n\
             garbage\n x | $(rm -rf /) | y\n";
        assert_eq!(
            Debian.offered(printed),
            ["26.1.5+dfsg1-9+b9", "20.10.24+dfsg1-1"]
        );
        assert!(Debian.offered(b"").is_empty());
    }

    /// The words after `install` that apt-get gets, with a stand-in for apt.
    fn installed(version: Option<&str>, has_cli: bool) -> String {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        for (name, script) in [
            ("apt-get", "#!/bin/sh\necho \"$@\"\n"),
            (
                "apt-cache",
                if has_cli {
                    "#!/bin/sh\necho offered\n"
                } else {
                    "#!/bin/sh\n"
                },
            ),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, script).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let script = Debian.install_script(Kind::Docker, version);
        let output = std::process::Command::new("/bin/sh")
            .args(["-c", &script])
            .env("PATH", folder.path())
            .output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        text.rsplit_once("install ").unwrap().1.trim().to_owned()
    }

    #[test]
    fn the_right_packages_are_installed() {
        assert_eq!(installed(None, false), "docker.io iptables apparmor");
        assert_eq!(
            installed(None, true),
            "docker.io iptables apparmor docker-cli"
        );
        assert_eq!(
            installed(Some("1:2.3+x"), true),
            "docker.io=1:2.3+x iptables apparmor docker-cli=1:2.3+x"
        );
    }
}
