//! What the names of package files tell.

/// How packages are written into files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.deb`
    Deb,
    /// `.rpm`
    Rpm,
    /// Arch's `.pkg.tar.zst`
    Pacman,
    /// Alpine's `.apk`
    Apk,
}

/// A package's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageFile {
    /// The file's name.
    pub file: String,
    /// The package's name.
    pub package: String,
    /// Its version, without an epoch where the file's name has none.
    pub version: String,
    /// For which architecture, in the words of its package manager; `None` where names do not tell.
    pub arch: Option<String>,
    /// How it is written.
    pub format: Format,
}

impl Format {
    /// What a person calls it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Deb => ".deb",
            Format::Rpm => ".rpm",
            Format::Pacman => ".pkg.tar",
            Format::Apk => ".apk",
        }
    }

    /// The first bytes of such a file.
    pub(super) fn begins(self, bytes: &[u8]) -> bool {
        let any = |magics: &[&[u8]]| magics.iter().any(|magic| bytes.starts_with(magic));
        match self {
            Format::Deb => any(&[b"!<arch>\ndebian-binary"]),
            Format::Rpm => any(&[b"\xed\xab\xee\xdb"]),
            Format::Pacman => any(&[b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"\x1f\x8b"]),
            Format::Apk => any(&[b"\x1f\x8b", b"ADB"]),
        }
    }
}

impl PackageFile {
    /// Reads a file's name; `None` if it is no package's.
    pub fn parse(file: &str) -> Option<Self> {
        let (format, package, version, arch) = parts(file)?;
        let version = version.replace("%3a", ":").replace("%3A", ":");
        let plain = |word: &str, more: &str| {
            !word.is_empty()
                && word
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let good = plain(package, "+-._")
            && plain(&version, "+-.:~^_")
            && arch.is_none_or(|arch| plain(arch, "_-"));
        good.then(|| PackageFile {
            file: file.to_owned(),
            package: package.to_owned(),
            version,
            arch: arch.map(Into::into),
            format,
        })
    }

    /// True if machines of an architecture, as `uname -m` names it, can take it.
    pub fn fits(&self, arch: &str) -> bool {
        let debian = match arch {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        self.arch
            .as_deref()
            .is_none_or(|own| ["all", "noarch", "any", debian, arch].contains(&own))
    }
}

type Parts<'a> = (Format, &'a str, &'a str, Option<&'a str>);

fn parts(file: &str) -> Option<Parts<'_>> {
    if let Some(stem) = file.strip_suffix(".deb") {
        // name_version_arch
        let (rest, arch) = stem.rsplit_once('_')?;
        let (package, version) = rest.split_once('_')?;
        return Some((Format::Deb, package, version, Some(arch)));
    }
    if let Some(stem) = file.strip_suffix(".rpm") {
        // name-version-release.arch
        let (rest, arch) = stem.rsplit_once('.')?;
        let (package, version) = split_release(rest)?;
        let source = matches!(arch, "src" | "nosrc");
        return (!source).then_some((Format::Rpm, package, version, Some(arch)));
    }
    if let Some(stem) = file.strip_suffix(".apk") {
        // name-version-rN
        let (package, version) = split_release(stem)?;
        return Some((Format::Apk, package, version, None));
    }
    let (stem, _) = file.rsplit_once(".pkg.tar")?;
    if !(file.ends_with(".zst") || file.ends_with(".xz") || file.ends_with(".gz")) {
        return None;
    }
    // name-version-release-arch
    let (rest, arch) = stem.rsplit_once('-')?;
    let (package, version) = split_release(rest)?;
    Some((Format::Pacman, package, version, Some(arch)))
}

/// `name-version-release` at the dash before the version.
fn split_release(text: &str) -> Option<(&str, &str)> {
    let release = text.rfind('-')?;
    let version = text.get(..release)?.rfind('-')?;
    Some((text.get(..version)?, text.get(version + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_package_managers_are_read() {
        for (file, package, version, arch) in [
            (
                "docker.io_26.1.5+dfsg1-9+b9_amd64.deb",
                "docker.io",
                "26.1.5+dfsg1-9+b9",
                Some("amd64"),
            ),
            (
                "docker-ce_5%3a28.5.2-1~debian.13~trixie_arm64.deb",
                "docker-ce",
                "5:28.5.2-1~debian.13~trixie",
                Some("arm64"),
            ),
            (
                "docker-ce-28.5.2-1.fc42.x86_64.rpm",
                "docker-ce",
                "28.5.2-1.fc42",
                Some("x86_64"),
            ),
            (
                "docker-1:28.5.2-1-x86_64.pkg.tar.zst",
                "docker",
                "1:28.5.2-1",
                Some("x86_64"),
            ),
            (
                "docker-engine-28.3.3-r4.apk",
                "docker-engine",
                "28.3.3-r4",
                None,
            ),
        ] {
            let read = PackageFile::parse(file).unwrap();
            assert_eq!(
                (&*read.package, &*read.version, read.arch.as_deref()),
                (package, version, arch)
            );
            assert_eq!(read.fits("x86_64"), arch != Some("arm64"));
        }
    }

    #[test]
    fn other_files_are_none() {
        for file in [
            "README",
            "x.deb",
            "a_b.deb",
            "a_1;id_amd64.deb",
            "a b_1_all.deb",
            "docker-28-1.src.rpm",
            "x-1.rpm",
            "a.apk",
            "x.pkg.tar",
            "x-1-1-any.pkg.tar.zst.sig",
        ] {
            assert_eq!(PackageFile::parse(file), None, "{file}");
        }
    }
}
