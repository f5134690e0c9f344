//! Package files: installed without a network, kept of what is installed, and downloaded to be sent elsewhere.

use super::{APT, DISTRO_DOCKER, ENGINE_PACKAGES, UPSTREAM_DOCKER};
use crate::ssh::quote;
use crate::wanted::Kind;

/// Installs all packages in `folder`. apt is shown no lists, so that nothing but these files is there to be taken.
pub(super) fn install_script(folder: &str) -> String {
    // What an installation that was cut off left is installed again, in whatever version it says it is. A dependency
    // that the machine has in a later version is left alone; only engines go back. Those of the other
    // channel ship the same programs and have to go.
    format!(
        "f={folder}; l=$(mktemp -d) || exit; mkdir \"$l/partial\"; x=; r=; set --; \
         for p in \"$f\"/*.deb; do \
         n=$(dpkg-deb -f \"$p\" Package) && v=$(dpkg-deb -f \"$p\" Version) || exit; \
         h=$(dpkg-query -W -f='${{db:Status-Status}} ${{Version}}' \"$n\" 2>/dev/null); \
         case $h in half-*|unpacked*) r=--reinstall;; esac; \
         case \" {engines} \" in *\" $n \"*) ;; *) case $h in 'installed '*) \
         dpkg --compare-versions \"${{h#installed }}\" gt \"$v\" && continue;; esac;; esac; \
         case $n in docker.io|docker-cli) x='{upstream}';; docker-ce|docker-ce-cli) x='{distro}';; esac; \
         set -- \"$@\" \"$p\"; done; \
         for n in $x; do case $(dpkg-query -W -f='${{db:Status-Status}}' $n 2>/dev/null) in installed) \
         set -- \"$@\" $n-;; esac; done; \
         {APT} -o Dir::State::Lists=\"$l\" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
         --no-install-recommends --allow-downgrades --allow-change-held-packages $r install \"$@\"; \
         s=$?; rm -rf \"$l\"; exit $s",
        folder = quote(folder),
        engines = ENGINE_PACKAGES.join(" "),
        upstream = UPSTREAM_DOCKER.join(" "),
        distro = DISTRO_DOCKER.join(" "),
    )
}

/// Leaves the files of an engine's packages, as they are installed now, in `folder`: from apt's cache, else from the
/// network in exactly that version, else rebuilt of what is on the disk.
pub(super) fn keep_script(kind: Kind, folder: &str) -> String {
    // A rebuilt package has the installed files, its control fields and its scripts, as dpkg-repack makes them.
    // Directories that are links (/lib) are no part of it; configuration files are as the user left them.
    format!(
        "f={folder}; mkdir -p \"$f\" && cd \"$f\" || exit; \
         for n in {packages}; do \
         w=$(dpkg-query -W -f='${{db:Status-Status}} ${{Version}} ${{Architecture}}' \"$n\" 2>/dev/null) || continue; \
         set -- $w; [ \"$1\" = installed ] || continue; v=$2; a=$3; \
         b=$n\"_\"$(printf %s \"$v\" | sed 's/:/%3a/')\"_\"$a.deb; [ -e \"$b\" ] && continue; \
         if [ -e \"/var/cache/apt/archives/$b\" ]; then cp \"/var/cache/apt/archives/$b\" . && continue; fi; \
         {APT} -o APT::Sandbox::User=root -o Acquire::Retries=0 -o Acquire::http::Timeout=10 \
         download \"$n=$v\" >/dev/null 2>&1 && [ -e \"$b\" ] && continue; \
         r=$(mktemp -d) || exit; mkdir -p \"$r/DEBIAN\"; \
         dpkg-query -s \"$n\" | awk '/^(Status|Conffiles):/ {{ skip = 1; next }} /^[^ ]/ {{ skip = 0 }} !skip' \
         >\"$r/DEBIAN/control\"; \
         dpkg-query -W -f='${{Conffiles}}\\n' \"$n\" | awk '$1 ~ /^\\// && $3 != \"obsolete\" {{ print $1 }}' \
         | while read -r c; do [ ! -f \"$c\" ] || echo \"$c\"; done >\"$r/DEBIAN/conffiles\"; \
         [ -s \"$r/DEBIAN/conffiles\" ] || rm \"$r/DEBIAN/conffiles\"; \
         for c in preinst postinst prerm postrm config templates triggers shlibs symbols; do \
         p=$(dpkg-query --control-path \"$n\" \"$c\" 2>/dev/null) && [ -n \"$p\" ] && cp -p \"$p\" \"$r/DEBIAN/$c\"; done; \
         dpkg-query -L \"$n\" | while read -r p; do case $p in /*) ;; *) continue;; esac; \
         [ -e \"$p\" ] || [ -L \"$p\" ] || continue; \
         case $p in /.|/bin|/sbin|/lib|/lib32|/lib64|/libx32) continue;; esac; printf '%s\\n' \".$p\"; done \
         | tar -C / --no-recursion -T - -cf - | tar -C \"$r\" -xpf - && chmod 0755 \"$r\" \"$r/DEBIAN\" && \
         dpkg-deb -Zgzip -z1 -b \"$r\" \"$b.new\" >/dev/null && mv \"$b.new\" \"$b\"; s=$?; \
         rm -rf \"$r\"; [ $s = 0 ] || exit $s; done",
        folder = quote(folder),
        packages = packages_of(kind),
    )
}

/// Downloads an engine's packages (`words`: for apt to install) into `folder`, and with them what a machine lacks that
/// never had an engine.
pub(super) fn download_script(prelude: &str, words: &str, folder: &str) -> String {
    // The status file without the engine and what came with it stands for such a machine.
    format!(
        "f={folder}; {prelude} mkdir -p \"$f/partial\"; t=$(mktemp -d) || exit; \
         set --; for n in {engines} iptables apparmor; do dpkg-query -W \"$n\" >/dev/null 2>&1 && set -- \"$@\" \"$n\"; done; \
         {{ printf '%s\\n' \"$@\"; [ $# = 0 ] || apt-get -s autoremove --purge \"$@\" 2>/dev/null \
         | awk '$1 == \"Remv\" || $1 == \"Purg\" {{ print $2 }}'; }} >\"$t/gone\"; \
         awk -v gone=\"$t/gone\" 'BEGIN {{ while ((getline line <gone) > 0) out[line] = 1; RS = \"\"; ORS = \"\\n\\n\" }} \
         !($2 in out)' /var/lib/dpkg/status >\"$t/status\"; \
         {words} {APT} $o -o APT::Sandbox::User=root -o Dir::State::status=\"$t/status\" -o Dir::Cache::archives=\"$f\" \
         -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
         --no-install-recommends --download-only --allow-downgrades install \"$@\"; \
         s=$?; rm -rf \"$t\" \"$d\" \"$f/partial\" \"$f/lock\"; exit $s",
        folder = quote(folder),
        engines = ENGINE_PACKAGES.join(" "),
    )
}

fn packages_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Docker => {
            "docker.io docker-cli docker-buildx docker-compose containerd runc tini tini-static docker-ce docker-ce-cli \
             containerd.io docker-buildx-plugin docker-compose-plugin docker-ce-rootless-extras"
        }
        Kind::Podman => {
            "podman conmon crun netavark aardvark-dns passt golang-github-containers-common"
        }
        Kind::None => "",
    }
}
