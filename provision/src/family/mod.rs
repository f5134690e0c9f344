//! Families of distributions: what differs between them when an engine is installed. One file a family.

mod debian;

use crate::os::Os;
use crate::wanted::Kind;
use crate::{Error, Result};

/// What a family of distributions does in its own way. Scripts are for a POSIX shell; those that change something
/// run as root.
pub trait Family: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// True if a distribution of this `ID` (or `ID_LIKE`) belongs to it.
    fn includes(&self, id: &str) -> bool;

    /// A script that prints `state name version` of the engine packages that are installed, one a line, where the
    /// state begins with `h` if the package is held. It runs on every machine before its family is known.
    fn packages_script(&self) -> &'static str;

    /// The package of an engine.
    fn engine_package(&self, kind: Kind) -> &'static str;

    /// A script that returns when nothing else that installs packages at boot is at work.
    fn wait_script(&self) -> &'static str;

    /// A script that installs an engine, from fresh package lists: the newest, or exactly the package version
    /// that [`Family::offered`] named.
    fn install_script(&self, kind: Kind, version: Option<&str>) -> String;

    /// A script that keeps upgrades from changing the version.
    fn pin_script(&self, kind: Kind) -> String;

    /// A script that lists the versions on offer, from fresh package lists.
    fn offers_script(&self, kind: Kind) -> String;

    /// The package versions that [`Family::offers_script`] printed, the newest first.
    fn offered(&self, printed: &[u8]) -> Vec<String>;

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

/// All families.
pub(crate) const ALL: &[&dyn Family] = &[&debian::Debian];

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
            known: "Debian, Ubuntu and what is like them",
        })
}

/// True if the package version `offered` is what the user calls `wanted`: the same, or its upstream part
/// (`26.1.5` for `26.1.5+dfsg1-9`), an epoch aside.
pub fn is_version(offered: &str, wanted: &str) -> bool {
    if offered == wanted {
        return true;
    }
    let upstream = offered.split_once(':').map_or(offered, |(_, rest)| rest);
    upstream
        .strip_prefix(wanted)
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_find_their_family() {
        let family = |text: &str| of(&Os::parse(text.as_bytes()), "m1").map(Family::name);
        assert_eq!(family("ID=debian").unwrap(), "debian");
        assert_eq!(family("ID=ubuntu\nID_LIKE=debian").unwrap(), "debian");
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

    #[test]
    fn versions_match_by_their_upstream_part() {
        assert!(is_version("26.1.5+dfsg1-9+b9", "26.1.5"));
        assert!(is_version("26.1.5+dfsg1-9+b9", "26.1.5+dfsg1-9+b9"));
        assert!(is_version("5:28.5.2-1~debian.13~trixie", "28.5.2"));
        assert!(!is_version("26.1.50-1", "26.1.5"));
        assert!(!is_version("26.1.5.1-1", "26.1.5"));
        assert!(!is_version("26.1.5-1", "26.1.4"));
        assert!(!is_version("26.1.5~rc1-1", "26.1.5~rc"));
    }
}
