//! Debian, Ubuntu and what is like them: apt and dpkg.

mod files;
mod suite;
#[cfg(test)]
mod tests;

use super::{FETCH_LIMIT, Family, Format, Repository, Source, Verdict, versions};
use crate::os::Os;
use crate::ssh::quote;
use crate::upstream::Upstream;
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

/// Every package that an engine consists of.
const ENGINE_PACKAGES: &[&str] = &[
    "docker.io",
    "docker-cli",
    "docker-buildx",
    "docker-compose",
    "containerd",
    "runc",
    "tini",
    "tini-static",
    "docker-ce",
    "docker-ce-cli",
    "docker-ce-rootless-extras",
    "containerd.io",
    "docker-buildx-plugin",
    "docker-compose-plugin",
    "podman",
    "conmon",
    "crun",
    "netavark",
    "aardvark-dns",
    "golang-github-containers-common",
];

/// Where Docker's own instructions put its key and its list, so that there is never a second one beside them.
const KEY: &str = "/etc/apt/keyrings/docker.asc";
const LIST: &str = "/etc/apt/sources.list.d/docker.list";

/// Docker's packages by channel. They ship the same programs, so that those of one have to go when the other's come.
const DISTRO_DOCKER: &[&str] = &[
    "docker.io",
    "docker-cli",
    "docker-buildx",
    "docker-compose",
    "containerd",
];
const UPSTREAM_DOCKER: &[&str] = &[
    "docker-ce",
    "docker-ce-cli",
    "docker-ce-rootless-extras",
    "containerd.io",
    "docker-buildx-plugin",
    "docker-compose-plugin",
];

/// What is installed for an engine.
struct Packages {
    /// Those that have the engine's own version.
    versioned: &'static [&'static str],
    /// One more, where the distribution has it.
    maybe: Option<&'static str>,
    others: &'static [&'static str],
    /// Others that not every release has.
    newer: &'static [&'static str],
    /// Those that cannot be there at the same time.
    instead_of: &'static [&'static str],
}

/// How apt is called where an engine is installed.
fn install() -> String {
    format!("{APT} --no-install-recommends --allow-downgrades --allow-change-held-packages")
}

impl Debian {
    fn packages(kind: Kind, source: Source) -> Packages {
        match (kind, source) {
            (Kind::Docker, Source::Distro) => Packages {
                versioned: &["docker.io"],
                // A package of its own from Debian 13 on.
                maybe: Some("docker-cli"),
                // Docker 20.10 runs no container where the kernel has AppArmor and its parser is missing.
                others: &["iptables", "apparmor"],
                newer: &[],
                instead_of: UPSTREAM_DOCKER,
            },
            (Kind::Docker, Source::Upstream) => Packages {
                versioned: &["docker-ce", "docker-ce-cli"],
                maybe: None,
                others: &[
                    "containerd.io",
                    "docker-buildx-plugin",
                    "docker-compose-plugin",
                    "iptables",
                    "apparmor",
                ],
                newer: &[],
                instead_of: DISTRO_DOCKER,
            },
            (Kind::Podman, _) => Packages {
                versioned: &["podman"],
                maybe: None,
                others: &[
                    // Published ports, by what the release's podman does it with.
                    "iptables",
                    "nftables",
                    // For those who are not root: ids for containers, a network, and a systemd of their own.
                    "uidmap",
                    "slirp4netns",
                    "dbus-user-session",
                ],
                // Containers' names; the network of those who are not root.
                newer: &["aardvark-dns", "passt"],
                instead_of: &[],
            },
            (Kind::None, _) => Packages {
                versioned: &[],
                maybe: None,
                others: &[],
                newer: &[],
                instead_of: &[],
            },
        }
    }

    /// The package that has the engine's version.
    fn main_package(kind: Kind, source: Source) -> &'static str {
        let packages = Self::packages(kind, source);
        packages.versioned.first().copied().unwrap_or_default()
    }

    /// Shell lines that leave the words for `apt-get install` in `$@`, and in `$v` what the versioned ones end with.
    fn words(kind: Kind, source: Source, version: Option<&str>) -> String {
        let packages = Self::packages(kind, source);
        let version = version.map(|version| quote(&format!("={version}")));
        let mut script = format!("v={}; set --;", version.unwrap_or_default());
        for package in packages.versioned {
            script += &format!(" set -- \"$@\" \"{package}$v\";");
        }
        let maybe = packages.maybe.map(|package| (package, "$v"));
        for (package, version) in maybe
            .into_iter()
            .chain(packages.newer.iter().map(|p| (*p, "")))
        {
            script += &format!(
                " [ -z \"$(apt-cache -q $o madison {package} 2>/dev/null)\" ] || set -- \"$@\" \"{package}{version}\";"
            );
        }
        for package in packages.others {
            script += &format!(" set -- \"$@\" {package};");
        }
        script
    }

    /// Shell lines that make `$o` options by which apt looks at a repository too that the machine does not have, or at
    /// nothing else, and leaves no trace but the folder `$d`.
    fn elsewhere(found: Option<(&Repository, &str)>, alone: bool) -> String {
        let Some((repository, key)) = found else {
            return "d=; o=;".to_owned();
        };
        let others = match alone {
            true => "o='-o Dir::Etc::SourceList=/dev/null';",
            // What the machine knows already need not be fetched again.
            false => {
                "o=; cp -a /var/lib/apt/lists \"$d/\"; cp /etc/apt/sources.list.d/* \"$d/parts/\" 2>/dev/null; \
                 rm -f \"$d\"/parts/docker.*;"
            }
        };
        format!(
            "d=$(mktemp -d) || exit; chmod 0755 \"$d\"; mkdir -p \"$d/parts\" \"$d/lists/partial\"; {others} \
             printf %s {key} >\"$d/key.asc\"; printf %s {list} | sed \"s|{KEY}|$d/key.asc|\" >\"$d/parts/berth.list\"; \
             o=\"$o -o Dir::Etc::SourceParts=$d/parts -o Dir::State::Lists=$d/lists -o Dir::Cache::pkgcache= \
             -o Dir::Cache::srcpkgcache=\";",
            key = quote(key),
            list = quote(&repository.list),
        )
    }
}

impl Family for Debian {
    fn name(&self) -> &'static str {
        "debian"
    }

    fn includes(&self, id: &str) -> bool {
        matches!(id, "debian" | "ubuntu")
    }

    fn format(&self) -> Format {
        Format::Deb
    }

    fn packages_script(&self) -> &'static str {
        "command -v dpkg-query >/dev/null && dpkg-query -W \
         -f='${db:Status-Abbrev} ${Package} ${Version}\\n' docker.io docker-ce podman 2>/dev/null"
    }

    fn engine_names(&self, kind: Kind) -> &'static [&'static str] {
        match kind {
            Kind::Docker => &["docker.io", "docker-ce"],
            Kind::Podman => &["podman"],
            Kind::None => &[],
        }
    }

    fn repository(&self, os: &Os, upstream: &Upstream) -> Result<Repository, String> {
        if !["debian", "ubuntu", "raspbian"].contains(&&*os.id) || os.codename.is_empty() {
            return Err(format!(
                "Docker publishes no packages for {}",
                os.pretty_name
            ));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if !os.codename.chars().all(plain) {
            return Err(format!("{:?} is no release's name", os.codename));
        }
        let base = format!("{}/linux/{}", upstream.base(), os.id);
        Ok(Repository {
            key_url: format!("{base}/gpg"),
            fingerprint: upstream.apt_key().to_owned(),
            key_path: KEY,
            list_path: LIST,
            list: format!("deb [signed-by={KEY}] {base} {} stable\n", os.codename),
        })
    }

    fn fetch_script(&self, url: &str) -> String {
        // A Debian need not have curl; apt fetches by itself, with the machine's proxies and certificates.
        format!(
            "f=$(mktemp) || exit; /usr/lib/apt/apt-helper -o Acquire::Retries=2 download-file {} \"$f\" >&2 && \
             head -c {FETCH_LIMIT} \"$f\"; s=$?; rm -f \"$f\"; exit $s",
            quote(url)
        )
    }

    fn wait_script(&self) -> &'static str {
        // apt's own timers are waited for by its lock.
        super::CLOUD_INIT
    }

    fn install_script(&self, kind: Kind, source: Source, version: Option<&str>) -> String {
        // The lists may be partly old when a repository that has nothing to do with this is broken; what matters
        // is whether the packages can be installed.
        format!(
            "{APT} update; o=; {words} for p in {others}; do \
             case $(dpkg-query -W -f='${{db:Status-Status}}' $p 2>/dev/null) in installed) set -- \"$@\" $p-;; esac; done; \
             {install}",
            words = Self::words(kind, source, version),
            others = Self::packages(kind, source).instead_of.join(" "),
            install = match version {
                Some(_) => suite::install_script(Self::main_package(kind, source)),
                None => format!("{} install \"$@\"", install()),
            },
        )
    }

    fn pin_script(&self, kind: Kind) -> String {
        self.hold(kind, "hold")
    }

    fn unpin_script(&self, kind: Kind) -> String {
        self.hold(kind, "unhold")
    }

    fn offers_script(
        &self,
        kind: Kind,
        source: Source,
        elsewhere: Option<(&Repository, &str)>,
    ) -> String {
        let package = Self::main_package(kind, source);
        // Only when nothing is on offer does it matter whether the lists could be fetched.
        format!(
            "{elsewhere} {APT} $o -o APT::Update::Error-Mode=any update >&2; s=$?; \
             m=$(apt-cache -q $o madison {package}); [ -z \"$d\" ] || rm -rf \"$d\"; \
             [ -z \"$m\" ] && exit $s; echo \"$m\"",
            elsewhere = Self::elsewhere(elsewhere, true),
        )
    }

    fn offered(&self, printed: &[u8]) -> Vec<String> {
        // package | version | where from
        let text = String::from_utf8_lossy(printed);
        let version = |line: &str| {
            let mut columns = line.split('|').map(str::trim);
            let (_, version, _) = (columns.next()?, columns.next()?, columns.next()?);
            Some(version.to_owned())
        };
        versions(text.lines().filter_map(version))
    }

    fn install_files_script(&self, folder: &str) -> String {
        files::install_script(folder)
    }

    fn keep_files_script(&self, kind: Kind, folder: &str) -> String {
        files::keep_script(kind, folder)
    }

    fn download_script(
        &self,
        kind: Kind,
        source: Source,
        version: Option<&str>,
        elsewhere: Option<(&Repository, &str)>,
        folder: &str,
    ) -> String {
        let prelude = format!(
            "{elsewhere} {APT} $o update >&2;",
            elsewhere = Self::elsewhere(elsewhere, false),
        );
        files::download_script(&prelude, &Self::words(kind, source, version), folder)
    }

    fn sshfs_script(&self) -> String {
        // Lists that are there are tried first: fetching them is most of the work.
        let install = format!("{APT} --no-install-recommends install sshfs");
        format!("{install} || {{ {APT} update; {install}; }}")
    }

    fn verdict(&self, words: &str) -> Verdict {
        if words.contains("dpkg was interrupted") || words.contains("dpkg --configure -a") {
            return Verdict::Mend(
                "DEBIAN_FRONTEND=noninteractive dpkg --force-confdef --force-confold --configure -a",
            );
        }
        Verdict::of(words, PASSING)
    }
}

impl Debian {
    fn hold(&self, kind: Kind, word: &str) -> String {
        let mut names = self.engine_names(kind).to_vec();
        if kind == Kind::Docker {
            names.extend(["docker-cli", "docker-ce-cli"]);
        }
        // One that is not installed would be held all the same.
        format!(
            "for p in {}; do case $(dpkg-query -W -f='${{db:Status-Status}}' $p 2>/dev/null) in \
             installed) apt-mark {word} $p >/dev/null || exit;; esac; done",
            names.join(" ")
        )
    }
}
