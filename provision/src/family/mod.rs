//! Families of distributions: what differs between them when an engine is installed. One file a family.

mod alpine;
mod amazon;
mod arch;
mod debian;
mod dnf;
mod fedora;
mod rhel;
mod suse;
mod version;

use crate::bundle::names::Format;
use crate::os::Os;
use crate::ssh::quote;
use crate::upstream::Upstream;
use crate::wanted::Kind;
use crate::{Error, Result};

pub use version::is_version;
pub(crate) use version::without_epoch;

/// The longest file that a machine fetches for us.
const FETCH_LIMIT: usize = 64 * 1024;

/// cloud-init installs packages at the first boot of cloud images.
const CLOUD_INIT: &str = "command -v cloud-init >/dev/null && timeout 900 cloud-init status --wait >/dev/null 2>&1; true";

/// [`Family::packages_script`] for all that have rpm. Where it is installed and nothing by it, it would leave an empty
/// database in the user's home.
const RPM_PACKAGES: &str = "for d in /usr/lib/sysimage/rpm /var/lib/rpm; do \
     [ -e $d/rpmdb.sqlite ] || [ -e $d/Packages.db ] || [ -e $d/Packages ] || continue; \
     rpm --dbpath $d -q --qf '%{NAME} %{EVR}\\n' docker-ce moby-engine docker podman \
     2>/dev/null | while read -r n v x; do [ -z \"$x\" ] || continue; s=ii; \
     grep -qsE \"(^|[^a-z-])$n(-[0-9]|\\\"|$)\" /etc/dnf/plugins/versionlock.list /etc/dnf/versionlock.toml /etc/zypp/locks \
     && s=hi; echo \"$s $n $v\"; done; break; done";

/// Shell lines that leave in `$@` the rpm files of a folder, without those of packages, other than `engines`, that the
/// machine has in a later version.
fn select_rpms(folder: &str, engines: &str) -> String {
    format!(
        "f={folder}; set --; for p in \"$f\"/*.rpm; do \
         w=$(rpm -qp --qf '%{{NAME}} %{{EVR}}' \"$p\" 2>/dev/null) || exit; n=${{w% *}}; \
         h=$(rpm -q --qf '%{{EVR}}' \"$n\" 2>/dev/null) || h=; \
         case \" {engines} \" in *\" $n \"*) ;; *) [ -n \"$h\" ] && \
         [ \"$(rpm --eval \"%{{lua:print(rpm.vercmp('$h', '${{w#* }}'))}}\")\" = 1 ] && continue;; esac; \
         set -- \"$@\" \"$p\"; done;",
        folder = quote(folder),
    )
}

/// Which repositories packages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The distribution's own.
    Distro,
    /// The engine's makers'.
    Upstream,
}

impl Source {
    /// The channel's name.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Source::Distro => "distro",
            Source::Upstream => "upstream",
        }
    }
}

/// A package repository of the engine's makers, as one distribution's package manager is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Where the key is that signs it.
    pub key_url: String,
    /// The only fingerprint that this key may have.
    pub fingerprint: String,
    /// Where the key goes in the machine.
    pub key_path: &'static str,
    /// The file by which the package manager knows the repository.
    pub list_path: &'static str,
    /// What is in that file.
    pub list: String,
}

/// What a family of distributions does in its own way. Scripts are for a POSIX shell; those that change something
/// run as root.
pub trait Family: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// True if a distribution of this `ID` (or `ID_LIKE`) belongs to it.
    fn includes(&self, id: &str) -> bool;

    /// How its packages are written into files.
    fn format(&self) -> Format;

    /// A script that prints `state name version` of the engine packages that are installed, one a line, where the
    /// state begins with `h` if the package is held. It runs on every machine before its family is known.
    fn packages_script(&self) -> &'static str;

    /// The packages by which an engine is known to be installed, the distribution's and upstream's.
    fn engine_names(&self, kind: Kind) -> &'static [&'static str] {
        match kind {
            Kind::Docker => &["docker"],
            Kind::Podman => &["podman"],
            Kind::None => &[],
        }
    }

    /// Upstream's repository for a distribution.
    ///
    /// # Errors
    /// Why there is none.
    fn repository(&self, os: &Os, _upstream: &Upstream) -> Result<Repository, String> {
        Err(format!(
            "Docker publishes no packages for {}",
            os.pretty_name
        ))
    }

    /// A script that prints the small file at an address.
    fn fetch_script(&self, url: &str) -> String {
        format!(
            "curl -fsSL --retry 2 --max-time 60 --max-filesize {FETCH_LIMIT} {}",
            quote(url)
        )
    }

    /// A script that returns when nothing else that installs packages at boot is at work.
    fn wait_script(&self) -> &'static str {
        CLOUD_INIT
    }

    /// A script that installs an engine, from fresh package lists: the newest, or exactly the package version
    /// that [`Family::offered`] named. One from another source makes room for it; upstream's repository is there.
    fn install_script(&self, kind: Kind, source: Source, version: Option<&str>) -> String;

    /// A script that keeps upgrades from changing the version.
    fn pin_script(&self, kind: Kind) -> String;

    /// A script that takes [`Family::pin_script`] back.
    fn unpin_script(&self, kind: Kind) -> String;

    /// A script that lists the versions on offer, from fresh package lists. With a repository and its key
    /// `elsewhere`, of what is on offer there; the machine is left as it is.
    fn offers_script(
        &self,
        kind: Kind,
        source: Source,
        elsewhere: Option<(&Repository, &str)>,
    ) -> String;

    /// The package versions that [`Family::offers_script`] printed, the newest first.
    fn offered(&self, printed: &[u8]) -> Vec<String>;

    /// A script that installs all package files in a folder of the machine, without a network. Engines may be
    /// downgraded, and those from elsewhere make room.
    fn install_files_script(&self, folder: &str) -> String;

    /// A script that leaves in a folder the package files of an engine as it is installed now, so that
    /// [`Family::install_files_script`] can bring it back. It fails if one cannot be had. Debian's need no network, as
    /// they are rebuilt of the installed files; others come from the package manager's cache, else from a mirror.
    fn keep_files_script(&self, kind: Kind, folder: &str) -> String;

    /// A script that downloads an engine's packages into a folder, with all that a machine without an engine lacks.
    /// `version` and `elsewhere` are as for [`Family::install_script`] and [`Family::offers_script`].
    fn download_script(
        &self,
        kind: Kind,
        source: Source,
        version: Option<&str>,
        elsewhere: Option<(&Repository, &str)>,
        folder: &str,
    ) -> String;

    /// A script that installs sshfs, which mounts what is served over SFTP.
    fn sshfs_script(&self) -> String;

    /// What the words of a failed script mean.
    fn verdict(&self, words: &str) -> Verdict;
}

/// What can be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may pass: wait and try again. In words, why.
    Passing(&'static str),
    /// An installation was cut off; this script mends it.
    Mend(&'static str),
    /// Trying again is no use.
    Final,
}

impl Verdict {
    /// What the words mean by a table of what is said of causes that pass, and what they are.
    fn of(words: &str, passing: &[(&str, &'static str)]) -> Self {
        let found = passing.iter().find(|(said, _)| words.contains(said));
        found.map_or(Verdict::Final, |(_, why)| Verdict::Passing(why))
    }
}

/// All families.
pub(crate) const ALL: &[&dyn Family] = &[
    &debian::Debian,
    &fedora::FEDORA,
    &rhel::RHEL,
    &amazon::AMAZON,
    &suse::Suse,
    &arch::Arch,
    &alpine::Alpine,
];

/// The family that an operating system belongs to: by its ID, then by what it says it is like.
///
/// # Errors
/// [`Error::UnknownSystem`] naming what was found.
pub fn of(os: &Os, host: &str) -> Result<&'static dyn Family> {
    let ids = std::iter::once(&os.id).chain(&os.id_like);
    ids.filter_map(|id| ALL.iter().find(|family| family.includes(id)))
        .copied()
        .next()
        .ok_or_else(|| Error::UnknownSystem {
            host: host.to_owned(),
            found: match os.pretty_name.as_str() {
                "" => "no /etc/os-release that says what it is".into(),
                name => format!("{name} (ID={})", os.id),
            },
            known: "Debian, Ubuntu, Fedora, RHEL, Amazon Linux, SUSE, Arch, Alpine and what is like them",
        })
}

/// A distribution and its release, as bundles name them: `debian 13`.
pub(crate) fn distro(os: &Os) -> String {
    format!("{} {}", os.id, os.version_id).trim().to_owned()
}

/// Versions that a machine printed, without what is none, the newest first.
fn versions(printed: impl Iterator<Item = String>) -> Vec<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".+-~:^_".contains(c);
    let mut versions: Vec<String> = printed
        .filter(|version| !version.is_empty() && version.len() <= 128)
        .filter(|version| version.chars().all(plain))
        .take(10_000)
        .collect();
    version::newest_first(&mut versions);
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever words get into them, every script is one that a plain shell can read.
    #[test]
    fn scripts_are_well_formed() {
        let repository = Repository {
            key_url: "http://m/it's".into(),
            fingerprint: String::new(),
            key_path: "/k",
            list_path: "/l",
            list: "a 'list' of \"$HOME\"\n".into(),
        };
        for family in ALL {
            let mut scripts = vec![
                family.packages_script().to_owned(),
                family.wait_script().to_owned(),
                family.fetch_script("http://m/it's"),
                family.install_files_script("/a 'b'"),
                family.sshfs_script(),
            ];
            for kind in [Kind::Docker, Kind::Podman] {
                scripts.push(family.pin_script(kind));
                scripts.push(family.unpin_script(kind));
                scripts.push(family.keep_files_script(kind, "/a 'b'"));
                for source in [Source::Distro, Source::Upstream] {
                    for version in [None, Some("1:2.3-4'")] {
                        let elsewhere = version.map(|_| (&repository, "a 'key'"));
                        scripts.push(family.install_script(kind, source, version));
                        scripts.push(family.offers_script(kind, source, elsewhere));
                        scripts.push(
                            family.download_script(kind, source, version, elsewhere, "/a 'b'"),
                        );
                    }
                }
            }
            for script in scripts {
                let read = std::process::Command::new("sh")
                    .args(["-n", "-c", &format!("( {script} ) && {{ {script}; }}")])
                    .output()
                    .unwrap();
                let words = String::from_utf8_lossy(&read.stderr);
                assert!(
                    read.status.success(),
                    "{}: {words}\n{script}",
                    family.name()
                );
            }
        }
    }

    #[test]
    fn systems_find_their_family() {
        let family = |text: &str| of(&Os::parse(text.as_bytes()), "m1").map(Family::name);
        assert_eq!(family("ID=debian").unwrap(), "debian");
        assert_eq!(family("ID=ubuntu\nID_LIKE=debian").unwrap(), "debian");
        for (text, name) in [
            ("ID=fedora", "fedora"),
            ("ID=rocky\nID_LIKE=\"rhel centos fedora\"", "rhel"),
            ("ID=almalinux\nID_LIKE=\"rhel centos fedora\"", "rhel"),
            ("ID=eurolinux\nID_LIKE=\"rhel fedora centos\"", "rhel"),
            ("ID=amzn\nID_LIKE=\"fedora\"", "amazon"),
            ("ID=opensuse-tumbleweed\nID_LIKE=\"opensuse suse\"", "suse"),
            ("ID=sles\nID_LIKE=suse", "suse"),
            ("ID=manjaro\nID_LIKE=arch", "arch"),
            ("ID=alpine", "alpine"),
        ] {
            assert_eq!(family(text).unwrap(), name);
        }
        assert_eq!(
            family("ID=linuxmint\nID_LIKE=\"ubuntu debian\"").unwrap(),
            "debian"
        );
        let error = family("ID=plan9\nPRETTY_NAME=\"Plan 9\"")
            .unwrap_err()
            .to_string();
        assert!(error.contains("Plan 9 (ID=plan9)"), "{error}");
        assert!(family("").is_err());
    }
}
