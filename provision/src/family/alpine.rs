//! Alpine Linux: apk. Its engines are in the repository `community`.

use super::{Family, Format, Repository, Source, Verdict, versions};
use crate::ssh::quote;
use crate::wanted::Kind;

pub(super) struct Alpine;

const APK: &str = "apk --no-progress --wait 600";

/// Every package that an engine consists of.
const ENGINE_PACKAGES: &str = "docker docker-engine docker-openrc docker-cli docker-cli-buildx docker-cli-compose \
     containerd containerd-openrc runc podman podman-openrc conmon crun netavark aardvark-dns containers-common";

/// What apk says of causes that pass, and what they are.
const PASSING: &[(&str, &str)] = &[
    (
        "Unable to lock database",
        "another program is installing packages",
    ),
    ("DNS lookup error", "names do not resolve yet"),
    ("temporary error", "the mirror does not answer"),
    ("network error", "the mirror does not answer"),
    ("Operation timed out", "the mirror does not answer"),
];

impl Alpine {
    fn package(kind: Kind) -> &'static str {
        match kind {
            Kind::Docker => "docker",
            Kind::Podman => "podman",
            Kind::None => "",
        }
    }
}

impl Family for Alpine {
    fn name(&self) -> &'static str {
        "alpine"
    }

    fn includes(&self, id: &str) -> bool {
        id == "alpine"
    }

    fn format(&self) -> Format {
        Format::Apk
    }

    fn packages_script(&self) -> &'static str {
        // A version in the world file is what holds a package.
        "command -v apk >/dev/null && for n in docker podman; do v=$(apk list -I \"$n\" 2>/dev/null | \
         sed -n \"s/^$n-\\([0-9][^ ]*\\) .*/\\1/p\"); [ -n \"$v\" ] || continue; s=ii; \
         grep -qs \"^$n=\" /etc/apk/world && s=hi; echo \"$s $n $v\"; done"
    }

    fn fetch_script(&self, url: &str) -> String {
        format!("wget -qO- -T 60 {}", quote(url))
    }

    fn install_script(&self, kind: Kind, _source: Source, version: Option<&str>) -> String {
        let package = Self::package(kind);
        let upgrade = if version.is_none() { " --upgrade" } else { "" };
        let word = match version {
            Some(version) => quote(&format!("{package}={version}")),
            None => package.to_owned(),
        };
        format!(
            "{APK} add --update-cache{upgrade} {word} && exit; s=$?; \
             grep -qs '^[^#].*/community' /etc/apk/repositories || \
             echo 'engines are in the repository community, which /etc/apk/repositories does not name' >&2; exit $s"
        )
    }

    fn pin_script(&self, kind: Kind) -> String {
        let package = Self::package(kind);
        format!(
            "v=$(apk list -I {package} | sed -n 's/^{package}-\\([0-9][^ ]*\\) .*/\\1/p'); \
             [ -n \"$v\" ] && {APK} add --no-network \"{package}=$v\""
        )
    }

    fn unpin_script(&self, kind: Kind) -> String {
        format!(
            "sed -i 's/^{package}=.*/{package}/' /etc/apk/world",
            package = Self::package(kind)
        )
    }

    fn offers_script(
        &self,
        kind: Kind,
        _source: Source,
        _elsewhere: Option<(&Repository, &str)>,
    ) -> String {
        format!("{APK} update >&2; apk list -a {}", Self::package(kind))
    }

    fn offered(&self, printed: &[u8]) -> Vec<String> {
        // docker-28.3.3-r4 x86_64 {docker} (Apache-2.0)
        let text = String::from_utf8_lossy(printed);
        let version = |line: &str| {
            let name = line.split(' ').next()?;
            let rest = ["docker-", "podman-"]
                .iter()
                .find_map(|prefix| name.strip_prefix(prefix))?;
            rest.starts_with(|c: char| c.is_ascii_digit())
                .then(|| rest.to_owned())
        };
        versions(text.lines().filter_map(version))
    }

    fn install_files_script(&self, folder: &str) -> String {
        format!(
            "f={folder}; {APK} add --no-network --allow-untrusted \"$f\"/*.apk",
            folder = quote(folder)
        )
    }

    fn keep_files_script(&self, _kind: Kind, folder: &str) -> String {
        // apk cannot put a package together again of what is installed.
        format!(
            "f={folder}; mkdir -p \"$f\" || exit; for n in {ENGINE_PACKAGES}; do \
             w=$(apk list -I \"$n\" 2>/dev/null | sed -n \"s/^\\($n-[0-9][^ ]*\\) .*/\\1/p\"); [ -n \"$w\" ] || continue; \
             c=$(find /etc/apk/cache/ /var/cache/apk/ -name \"$w.*apk\" 2>/dev/null | head -n 1); \
             if [ -n \"$c\" ]; then cp \"$c\" \"$f/$w.apk\"; else {APK} fetch -o \"$f\" \"$n=${{w#$n-}}\" >&2; fi; \
             [ -e \"$f/$w.apk\" ] || {{ echo \"$w can be had neither from apk's cache nor from a mirror\" >&2; exit 1; }}; done",
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
        let package = Self::package(kind);
        let word = match version {
            Some(version) => format!("{package}={version}"),
            None => package.to_owned(),
        };
        format!(
            "{APK} update >&2; {APK} fetch --recursive -o {folder} {word} >&2",
            folder = quote(folder),
            word = quote(&word),
        )
    }

    fn sshfs_script(&self) -> String {
        format!("{APK} add --update-cache sshfs")
    }

    fn verdict(&self, words: &str) -> Verdict {
        Verdict::of(words, PASSING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_are_read_from_apks_list() {
        let printed = b"docker-28.3.3-r4 x86_64 {docker} (Apache-2.0)\n\
             docker-29.0.0-r0 x86_64 {docker} (Apache-2.0)\ndocker-cli-28.3.3-r4 x86_64 {docker}\n";
        assert_eq!(Alpine.offered(printed), ["29.0.0-r0", "28.3.3-r4"]);
    }
}
