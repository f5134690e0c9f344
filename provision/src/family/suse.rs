//! openSUSE and SUSE Linux Enterprise: zypper and rpm.

use super::{Family, Format, Repository, Source, Verdict, versions};
use crate::ssh::quote;
use crate::wanted::Kind;

pub(super) struct Suse;

/// How zypper is called: it asks nothing and shows no table frames.
const ZYPPER: &str = "ZYPP_LOCK_TIMEOUT=600 zypper --non-interactive --quiet";

/// Every package that an engine consists of; only these go back to older versions.
const ENGINE_PACKAGES: &str = "docker docker-stable docker-buildx docker-compose containerd runc podman conmon crun \
     netavark aardvark-dns libcontainers-common";

/// What zypper says of causes that pass, and what they are.
const PASSING: &[(&str, &str)] = &[
    (
        "System management is locked",
        "another program is installing packages",
    ),
    ("Could not resolve host", "names do not resolve yet"),
    ("Network is unreachable", "there is no network yet"),
    ("Timeout exceeded", "the mirror does not answer"),
    ("Connection failed", "the mirror does not answer"),
    ("Download (curl) error", "the mirror does not answer"),
    ("Digest verification failed", "the mirror is being updated"),
];

impl Suse {
    fn package(kind: Kind) -> &'static str {
        match kind {
            Kind::Docker => "docker",
            Kind::Podman => "podman",
            Kind::None => "",
        }
    }

    fn word(kind: Kind, version: Option<&str>) -> String {
        let package = Self::package(kind);
        match version {
            Some(version) => quote(&format!("{package}={version}")),
            None => package.to_owned(),
        }
    }
}

impl Family for Suse {
    fn name(&self) -> &'static str {
        "suse"
    }

    fn includes(&self, id: &str) -> bool {
        matches!(id, "suse" | "opensuse" | "sles") || id.starts_with("opensuse-")
    }

    fn format(&self) -> Format {
        Format::Rpm
    }

    fn packages_script(&self) -> &'static str {
        super::RPM_PACKAGES
    }

    fn install_script(&self, kind: Kind, _source: Source, version: Option<&str>) -> String {
        format!(
            "{ZYPPER} refresh >&2; {ZYPPER} install --no-recommends --oldpackage --force-resolution \
             --auto-agree-with-licenses {}",
            Self::word(kind, version)
        )
    }

    fn pin_script(&self, kind: Kind) -> String {
        format!("{ZYPPER} addlock {}", Self::package(kind))
    }

    fn unpin_script(&self, kind: Kind) -> String {
        format!("{ZYPPER} removelock {}", Self::package(kind))
    }

    fn offers_script(
        &self,
        kind: Kind,
        _source: Source,
        _elsewhere: Option<(&Repository, &str)>,
    ) -> String {
        format!(
            "{ZYPPER} refresh >&2; {ZYPPER} search --details --match-exact --type package {}",
            Self::package(kind)
        )
    }

    fn offered(&self, printed: &[u8]) -> Vec<String> {
        // state | name | type | version | arch | repository
        let text = String::from_utf8_lossy(printed);
        let version = |line: &str| {
            let columns: Vec<&str> = line.split('|').map(str::trim).collect();
            (columns.len() >= 6 && columns.get(2) == Some(&"package"))
                .then(|| columns.get(3).map(|version| (*version).to_owned()))
                .flatten()
        };
        versions(text.lines().filter_map(version))
    }

    fn install_files_script(&self, folder: &str) -> String {
        format!(
            "{select} e=$(mktemp -d) || exit; {ZYPPER} --no-refresh --no-gpg-checks --reposd-dir \"$e\" install \
             --no-recommends --oldpackage --force-resolution --allow-unsigned-rpm \"$@\"; s=$?; rm -rf \"$e\"; exit $s",
            select = super::select_rpms(folder, ENGINE_PACKAGES),
        )
    }

    fn keep_files_script(&self, _kind: Kind, folder: &str) -> String {
        // rpm cannot put a package together again of what is installed.
        format!(
            "f={folder}; mkdir -p \"$f\" || exit; for n in {ENGINE_PACKAGES}; do \
             b=$(rpm -q --qf '%{{NAME}}-%{{VERSION}}-%{{RELEASE}}.%{{ARCH}}.rpm' \"$n\" 2>/dev/null) || continue; \
             [ -e \"$f/$b\" ] && continue; v=$(rpm -q --qf '%{{VERSION}}-%{{RELEASE}}' \"$n\"); \
             find /var/cache/zypp -name \"$b\" 2>/dev/null | grep -q . || \
             {ZYPPER} install --download-only --force \"$n=$v\" >&2; \
             c=$(find /var/cache/zypp -name \"$b\" 2>/dev/null | head -n 1); [ -n \"$c\" ] && cp \"$c\" \"$f/\" || \
             {{ echo \"$b can be had neither from zypper's cache nor from a mirror\" >&2; exit 1; }}; done",
            folder = quote(folder),
        )
    }

    fn download_script(
        &self,
        kind: Kind,
        _source: Source,
        version: Option<&str>,
        _elsewhere: Option<(&Repository, &str)>,
        folder: &str,
    ) -> String {
        format!(
            "f={folder}; c=$(mktemp -d) || exit; {ZYPPER} --pkg-cache-dir \"$c\" install --download-only --no-recommends \
             --force {word} >&2 && find \"$c\" -name '*.rpm' -exec mv {{}} \"$f/\" \\;; s=$?; rm -rf \"$c\"; exit $s",
            folder = quote(folder),
            word = Self::word(kind, version),
        )
    }

    fn sshfs_script(&self) -> String {
        format!("{ZYPPER} refresh >&2; {ZYPPER} install --no-recommends sshfs")
    }

    fn verdict(&self, words: &str) -> Verdict {
        Verdict::of(words, PASSING)
    }
}
