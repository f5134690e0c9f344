//! Arch Linux and what is like it: pacman. There is one version of everything: the newest.

use super::{Family, Format, Repository, Source, Verdict, versions};
use crate::ssh::quote;
use crate::wanted::Kind;

pub(super) struct Arch;

const PACMAN: &str = "pacman --noconfirm --noprogressbar";

/// Every package that an engine consists of.
const ENGINE_PACKAGES: &str = "docker docker-buildx docker-compose containerd runc podman conmon crun netavark \
     aardvark-dns containers-common";

/// What pacman says of causes that pass, and what they are.
const PASSING: &[(&str, &str)] = &[
    (
        "unable to lock database",
        "another program is installing packages",
    ),
    ("Could not resolve host", "names do not resolve yet"),
    ("Failed to connect", "the mirror does not answer"),
    ("Operation too slow", "the mirror does not answer"),
    ("Connection timed out", "the mirror does not answer"),
];

impl Arch {
    fn package(kind: Kind) -> &'static str {
        match kind {
            Kind::Docker => "docker",
            Kind::Podman => "podman",
            Kind::None => "",
        }
    }

    /// The line of pacman.conf that holds an engine.
    fn line(kind: Kind) -> String {
        format!("IgnorePkg = {}", Self::package(kind))
    }
}

impl Family for Arch {
    fn name(&self) -> &'static str {
        "arch"
    }

    fn includes(&self, id: &str) -> bool {
        matches!(id, "arch" | "archarm")
    }

    fn format(&self) -> Format {
        Format::Pacman
    }

    fn packages_script(&self) -> &'static str {
        "command -v pacman >/dev/null && [ -e /etc/pacman.conf ] && pacman -Q docker podman 2>/dev/null \
         | while read -r n v; do s=ii; grep -qE \"^IgnorePkg *=(.* )?$n( |$)\" /etc/pacman.conf && s=hi; \
         echo \"$s $n $v\"; done"
    }

    fn install_script(&self, kind: Kind, _source: Source, version: Option<&str>) -> String {
        let package = Self::package(kind);
        // Only the whole system is ever upgraded: fresh lists with old libraries would break it. What the lists that
        // are there name is taken as long as mirrors have it.
        let upgrade = format!("{PACMAN} -Syu --needed {package}");
        match version {
            Some(_) => format!("{PACMAN} -S --needed {package} || {upgrade}"),
            None => format!(
                "{PACMAN} -Q {package} >/dev/null 2>&1 || {PACMAN} -S --needed {package} || {upgrade}"
            ),
        }
    }

    fn pin_script(&self, kind: Kind) -> String {
        format!(
            "grep -qx '{line}' /etc/pacman.conf || sed -i '/^\\[options\\]/a {line}' /etc/pacman.conf",
            line = Self::line(kind)
        )
    }

    fn unpin_script(&self, kind: Kind) -> String {
        format!("sed -i '/^{}$/d' /etc/pacman.conf", Self::line(kind))
    }

    fn offers_script(
        &self,
        kind: Kind,
        _source: Source,
        _elsewhere: Option<(&Repository, &str)>,
    ) -> String {
        let package = Self::package(kind);
        format!("{PACMAN} -Si {package} || {{ {PACMAN} -Sy >&2 && {PACMAN} -Si {package}; }}")
    }

    fn offered(&self, printed: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(printed);
        let version = |line: &str| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == "Version").then(|| value.trim().to_owned())
        };
        versions(text.lines().filter_map(version))
    }

    fn install_files_script(&self, folder: &str) -> String {
        // Libraries that the machine has in a later version are left alone; only engines go back.
        format!(
            "f={folder}; set --; for p in \"$f\"/*.pkg.tar*; do case $p in *.sig) continue;; esac; \
             w=$(pacman -Qp \"$p\") || exit; n=${{w% *}}; h=$(pacman -Q \"$n\" 2>/dev/null); \
             case \" {ENGINE_PACKAGES} \" in *\" $n \"*) ;; *) [ -n \"$h\" ] && \
             [ \"$(vercmp \"${{h#* }}\" \"${{w#* }}\")\" -gt 0 ] && continue;; esac; set -- \"$@\" \"$p\"; done; \
             {PACMAN} -U \"$@\"",
            folder = quote(folder),
        )
    }

    fn keep_files_script(&self, _kind: Kind, folder: &str) -> String {
        // pacman keeps what it installs.
        format!(
            "f={folder}; mkdir -p \"$f\" || exit; for n in {ENGINE_PACKAGES}; do \
             w=$(pacman -Q \"$n\" 2>/dev/null) || continue; found=; \
             for c in /var/cache/pacman/pkg/\"$n-${{w#* }}\"-*.pkg.tar*; do [ -e \"$c\" ] || continue; \
             cp \"$c\" \"$f/\" && found=yes; done; \
             [ -n \"$found\" ] || {{ echo \"$w is no longer in pacman's cache\" >&2; exit 1; }}; done",
            folder = quote(folder),
        )
    }

    fn download_script(
        &self,
        kind: Kind,
        _source: Source,
        _version: Option<&str>,
        _elsewhere: Option<(&Repository, &str)>,
        folder: &str,
    ) -> String {
        // An empty database stands for a machine that has nothing.
        format!(
            "f={folder}; d=$(mktemp -d) || exit; mkdir \"$d/local\"; ln -s /var/lib/pacman/sync \"$d/sync\"; \
             {PACMAN} -Sw --dbpath \"$d\" --cachedir \"$f\" {} >&2; s=$?; rm -rf \"$d\"; exit $s",
            Self::package(kind),
            folder = quote(folder),
        )
    }

    fn sshfs_script(&self) -> String {
        format!("{PACMAN} -S --needed sshfs || {PACMAN} -Syu --needed sshfs")
    }

    fn verdict(&self, words: &str) -> Verdict {
        Verdict::of(words, PASSING)
    }
}
