//! What Fedora, the RHEL family and Amazon Linux have in common: dnf, in its fourth or fifth form, and rpm.
//!
//! Their firewalld is left alone: engines enter their own rules there, and berth's way in is SSH, which is open.

use super::{Family, Format, Repository, Source, Verdict, versions, without_epoch};
use crate::os::Os;
use crate::ssh::quote;
use crate::upstream::Upstream;
use crate::wanted::Kind;

/// A family whose package manager is dnf.
pub(super) struct Dnf {
    /// The family's name.
    pub(super) name: &'static str,
    /// The distributions that belong to it.
    pub(super) ids: &'static [&'static str],
    /// The distribution's own packages of Docker Engine, that with its version first; none where it has none.
    pub(super) docker: &'static [&'static str],
    /// The distribution's own packages of Podman.
    pub(super) podman: &'static [&'static str],
    /// Upstream's folder for a distribution, and the release's name there; or why there is none.
    pub(super) upstream: fn(&Os) -> Result<(&'static str, String), String>,
}

/// How dnf is called: it asks nothing, and keeps what it downloaded for a way back. Told to be quiet (`-q`), neither form
/// of it would say why a mirror cannot be had. A command's own options come after it: dnf 5 refuses them before.
const DNF: &str = "dnf -y --setopt=keepcache=True --setopt=install_weak_deps=False";

/// For what needs no repository, so that none is asked for. To disable them all would be an error to dnf 5 where there is
/// none.
const NO_REPOSITORY: &str = "--setopt=reposdir=/dev/null";

/// What begins the lines in which a version is offered, among all that dnf says.
const OFFERED: &str = "offered:";

/// What upstream publishes; those in the first list have the engine's version.
const UPSTREAM_VERSIONED: &[&str] = &["docker-ce", "docker-ce-cli"];
const UPSTREAM_OTHERS: &[&str] = &[
    "containerd.io",
    "docker-buildx-plugin",
    "docker-compose-plugin",
];

/// Every package that an engine consists of; only these go back to older versions.
const ENGINE_PACKAGES: &str = "docker-ce docker-ce-cli docker-ce-rootless-extras containerd.io docker-buildx-plugin \
     docker-compose-plugin moby-engine docker docker-cli docker-buildx docker-compose containerd runc podman conmon crun \
     netavark aardvark-dns containers-common";

/// Where Docker's own instructions put its repository.
const KEY: &str = "/etc/pki/rpm-gpg/docker.asc";
const LIST: &str = "/etc/yum.repos.d/docker-ce.repo";

/// What dnf says of causes that pass, and what they are.
const PASSING: &[(&str, &str)] = &[
    // Mostly, dnf waits by itself.
    (
        "Another transaction is in progress",
        "another program is installing packages",
    ),
    (
        "can't create transaction lock",
        "another program is installing packages",
    ),
    ("Could not resolve host", "names do not resolve yet"),
    ("Couldn't resolve host", "names do not resolve yet"),
    ("Network is unreachable", "there is no network yet"),
    ("Couldn't connect to server", "the mirror does not answer"),
    ("Could not connect to server", "the mirror does not answer"),
    ("Timeout was reached", "the mirror does not answer"),
    ("Operation too slow", "the mirror does not answer"),
    ("Connection reset", "the mirror does not answer"),
    ("Transferred a partial file", "the mirror does not answer"),
    ("Status code: 5", "the mirror is in trouble"),
    ("Status code: 429", "the mirror is in trouble"),
    ("checksum doesn't match", "the mirror is being updated"),
];

impl Dnf {
    fn packages(
        &self,
        kind: Kind,
        source: Source,
    ) -> (&'static [&'static str], &'static [&'static str]) {
        match (kind, source) {
            (Kind::Docker, Source::Upstream) => (UPSTREAM_VERSIONED, UPSTREAM_OTHERS),
            (Kind::Docker, Source::Distro) => self.docker.split_at(self.docker.len().min(1)),
            (Kind::Podman, _) => self.podman.split_at(self.podman.len().min(1)),
            (Kind::None, _) => (&[], &[]),
        }
    }

    /// The words for `dnf install`.
    fn words(&self, kind: Kind, source: Source, version: Option<&str>) -> String {
        let (versioned, others) = self.packages(kind, source);
        let mut words: Vec<String> = Vec::new();
        for package in versioned {
            words.push(match version {
                // The packages of one release have different epochs.
                Some(version) => quote(&format!("{package}-{}", without_epoch(version))),
                None => (*package).to_owned(),
            });
        }
        words.extend(others.iter().map(|package| (*package).to_owned()));
        words.join(" ")
    }

    /// What is wrong with asking for an engine that the distribution does not have.
    fn missing(&self, kind: Kind, source: Source) -> Option<String> {
        let (versioned, _) = self.packages(kind, source);
        versioned.is_empty().then(|| {
            format!("echo 'this distribution has no package of {kind}: use the channel upstream' >&2; exit 1")
        })
    }

    /// Shell lines that leave in `$o` the options by which dnf sees a repository too that the machine does not have,
    /// and nothing of which is left but the folder `$d`.
    fn elsewhere(found: Option<(&Repository, &str)>) -> String {
        let Some((repository, key)) = found else {
            return "d=; o=;".to_owned();
        };
        format!(
            "d=$(mktemp -d) || exit; mkdir \"$d/repos\"; cp /etc/yum.repos.d/*.repo \"$d/repos/\" 2>/dev/null; \
             rm -f \"$d/repos/docker-ce.repo\"; printf %s {key} >\"$d/key.asc\"; \
             printf %s {list} | sed \"s|{KEY}|$d/key.asc|\" >\"$d/repos/berth.repo\"; \
             o=\"--setopt=reposdir=$d/repos\";",
            key = quote(key),
            list = quote(&repository.list),
        )
    }
}

impl Family for Dnf {
    fn name(&self) -> &'static str {
        self.name
    }

    fn includes(&self, id: &str) -> bool {
        self.ids.contains(&id)
    }

    fn format(&self) -> Format {
        Format::Rpm
    }

    fn packages_script(&self) -> &'static str {
        super::RPM_PACKAGES
    }

    fn engine_names(&self, kind: Kind) -> &'static [&'static str] {
        match kind {
            Kind::Docker => &["docker-ce", "moby-engine", "docker"],
            Kind::Podman => &["podman"],
            Kind::None => &[],
        }
    }

    fn repository(&self, os: &Os, upstream: &Upstream) -> Result<Repository, String> {
        let (folder, release) = (self.upstream)(os)?;
        let base = format!("{}/linux/{folder}", upstream.base());
        Ok(Repository {
            key_url: format!("{base}/gpg"),
            fingerprint: upstream.rpm_key().to_owned(),
            key_path: KEY,
            list_path: LIST,
            list: format!(
                "[docker-ce-stable]\nname=Docker CE Stable\nbaseurl={base}/{release}/$basearch/stable\nenabled=1\n\
                 gpgcheck=1\ngpgkey=file://{KEY}\n"
            ),
        })
    }

    fn install_script(&self, kind: Kind, source: Source, version: Option<&str>) -> String {
        if let Some(missing) = self.missing(kind, source) {
            return missing;
        }
        let words = self.words(kind, source, version);
        let then = match version {
            // install does not go back by itself everywhere, and says neither then nor after downgrade that it did not.
            Some(_) => format!(
                " && rpm -q {words} >/dev/null || {{ {DNF} downgrade --allowerasing {words} && rpm -q {words} >&2; }}"
            ),
            None => format!(" && {DNF} upgrade {words}"),
        };
        format!("{DNF} --refresh install --allowerasing {words}{then}")
    }

    fn pin_script(&self, kind: Kind) -> String {
        // A command of dnf 5's own, and a package's in dnf 4. A lock on another version would stay beside the new one, or
        // keep it out.
        format!(
            "{DNF} {NO_REPOSITORY} versionlock list >/dev/null 2>&1 || {DNF} install python3-dnf-plugin-versionlock || \
             {DNF} install 'dnf-command(versionlock)'; {unpin} && for p in {held}; do \
             ! rpm -q $p >/dev/null 2>&1 || {DNF} {NO_REPOSITORY} versionlock add $p >/dev/null || exit; done",
            unpin = self.unpin_script(kind),
            held = self.held(kind),
        )
    }

    fn unpin_script(&self, kind: Kind) -> String {
        format!(
            "for p in {}; do if grep -qsE \"(^|[^a-z])$p(-[0-9]|\\\"|$)\" /etc/dnf/plugins/versionlock.list \
             /etc/dnf/versionlock.toml; then {DNF} {NO_REPOSITORY} versionlock delete $p >/dev/null || exit; fi; done",
            self.held(kind)
        )
    }

    fn offers_script(
        &self,
        kind: Kind,
        source: Source,
        elsewhere: Option<(&Repository, &str)>,
    ) -> String {
        let (versioned, _) = self.packages(kind, source);
        let Some(package) = versioned.first() else {
            return "true".to_owned();
        };
        // Where a mirror that does not answer is no failure, it is one if nothing is offered.
        format!(
            "{elsewhere} t=$({DNF} $o --refresh repoquery --qf '{OFFERED}%{{evr}}\\n' {package}); s=$?; echo \"$t\"; \
             case $s$t in 0*{OFFERED}*) ;; 0*) {DNF} $o --setopt='*.skip_if_unavailable=False' --refresh makecache >&2; \
             s=$?;; esac; [ -z \"$d\" ] || rm -rf \"$d\"; exit $s",
            elsewhere = Self::elsewhere(elsewhere),
        )
    }

    fn offered(&self, printed: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(printed);
        let version = |line: &str| Some(line.strip_prefix(OFFERED)?.trim().to_owned());
        versions(text.lines().filter_map(version))
    }

    fn install_files_script(&self, folder: &str) -> String {
        // Libraries that the machine has in a later version are left alone; only engines go back.
        format!(
            "{select} {DNF} {NO_REPOSITORY} --setopt=localpkg_gpgcheck=False install --allowerasing \"$@\" && \
             {DNF} {NO_REPOSITORY} --setopt=localpkg_gpgcheck=False downgrade \"$@\" >/dev/null 2>&1; \
             for p; do rpm -q \"$(rpm -qp --qf '%{{NEVRA}}' \"$p\" 2>/dev/null)\" >/dev/null || \
             {{ echo \"$p was not installed\" >&2; exit 1; }}; done",
            select = super::select_rpms(folder, ENGINE_PACKAGES),
        )
    }

    fn keep_files_script(&self, _kind: Kind, folder: &str) -> String {
        // rpm cannot put a package together again of what is installed, so what was downloaded is kept from the start.
        format!(
            "f={folder}; mkdir -p \"$f\" || exit; for n in {ENGINE_PACKAGES}; do \
             b=$(rpm -q --qf '%{{NAME}}-%{{VERSION}}-%{{RELEASE}}.%{{ARCH}}.rpm' \"$n\" 2>/dev/null) || continue; \
             [ -e \"$f/$b\" ] && continue; \
             c=$(find /var/cache/dnf /var/cache/libdnf5 -name \"$b\" 2>/dev/null | head -n 1); \
             if [ -n \"$c\" ]; then cp \"$c\" \"$f/\"; else \
             {DNF} --setopt=destdir=\"$f\" reinstall --downloadonly \"${{b%.rpm}}\" >&2; fi; \
             [ -e \"$f/$b\" ] || {{ echo \"$b can be had neither from dnf's cache nor from a mirror\" >&2; exit 1; }}; done",
            folder = quote(folder),
        )
    }

    fn download_script(
        &self,
        kind: Kind,
        source: Source,
        version: Option<&str>,
        elsewhere: Option<(&Repository, &str)>,
        folder: &str,
    ) -> String {
        if let Some(missing) = self.missing(kind, source) {
            return missing;
        }
        // Into a root of its own that holds nothing, so that what this machine has already is fetched too; what dnf would
        // look for there is named: settings, variables, repositories and the release, but not what is held. It is a test
        // of installing there, because dnf 5 checks no signatures of what it only downloads.
        format!(
            "f={folder}; {elsewhere} r=$(mktemp -d) || exit; \
             v=$(rpm -q --qf '[%{{PROVIDENAME}} %{{PROVIDEVERSION}}\\n]' --whatprovides 'system-release(releasever)' | \
             sed -n 's/^system-release(releasever) //p' | head -n 1); \
             [ -n \"$v\" ] || v=$(. /etc/os-release; echo \"${{VERSION_ID%%.*}}\"); \
             c=/etc/dnf/dnf.conf; [ -e $c ] || c=/dev/null; \
             {DNF} --config=$c --setopt=varsdir=/etc/dnf/vars,/etc/yum/vars ${{o:---setopt=reposdir=/etc/yum.repos.d}} \
             --disableplugin=versionlock --installroot=\"$r\" --releasever=\"$v\" --setopt=destdir=\"$f\" \
             --setopt=tsflags=test --setopt=diskspacecheck=False install {words}; s=$?; rm -rf \"$r\"; \
             [ -z \"$d\" ] || rm -rf \"$d\"; exit $s",
            folder = quote(folder),
            elsewhere = Self::elsewhere(elsewhere),
            words = self.words(kind, source, version),
        )
    }

    fn sshfs_script(&self) -> String {
        // What is made of Red Hat's has it in EPEL, of which the distribution's own repositories know.
        format!(
            "{DNF} install fuse-sshfs || {{ {DNF} install epel-release && {DNF} install fuse-sshfs; }}"
        )
    }

    fn verdict(&self, words: &str) -> Verdict {
        Verdict::of(words, PASSING)
    }
}

impl Dnf {
    /// The packages that are held with an engine.
    fn held(&self, kind: Kind) -> &'static str {
        match kind {
            Kind::Docker => "docker-ce docker-ce-cli moby-engine docker docker-cli",
            Kind::Podman => "podman",
            Kind::None => "",
        }
    }
}
