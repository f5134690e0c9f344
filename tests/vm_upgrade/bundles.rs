//! Bundles made of the machine's own package, each spoilt in its own way.

use crate::vm::Host;
use crate::{packages, taken_back, upgrade};

/// Takes the package that is installed apart, spoils it (VERSION: the version it is given, SPOIL: what a shell does in
/// its folder), and puts it together again as /root/bundle/docker.io_VERSION_amd64.deb.
const MAKE: &str = "set -e; rm -rf /root/bundle /root/spoilt; mkdir /root/bundle; cd /root; \
     apt-get download -qq docker.io=$(dpkg-query -W -f='${Version}' docker.io); \
     dpkg-deb -R docker.io_*.deb spoilt; rm docker.io_*.deb; cd spoilt; \
     sed -i \"s/^Version: .*/Version: VERSION/\" DEBIAN/control; SPOIL; cd ..; \
     dpkg-deb -Znone -b spoilt \"bundle/docker.io_VERSION_amd64.deb\" >/dev/null; rm -r spoilt";

pub fn are_taken_back(host: &Host) {
    let before = packages(host);
    for (version, spoil, words) in [
        (
            "26.1.6",
            "printf '#!/bin/sh\\necho dead on arrival >&2\\nexit 1\\n' >usr/sbin/dockerd",
            "dead on arrival",
        ),
        (
            "26.1.5+lost",
            "mkdir -p usr/lib/systemd/system/docker.service.d; \
             printf '[Service]\\nEnvironment=\"DOCKER_OPTS=--data-root=/var/lib/lost --iptables=false --ip6tables=false\"\\n' \
             >usr/lib/systemd/system/docker.service.d/99-lost.conf",
            "counter does not run any more",
        ),
        (
            "26.1.7",
            "printf '#!/bin/sh\\necho cannot be configured >&2\\nexit 1\\n' >DEBIAN/postinst",
            "cannot be configured",
        ),
        (
            "26.1.8",
            "printf '#!/bin/sh\\nfallocate -l $(($(stat -f -c %%f /var) * $(stat -f -c %%S /var) - 16777216)) /var/full\\n' \
             >DEBIAN/preinst; chmod 755 DEBIAN/preinst",
            "No space left on device",
        ),
    ] {
        let make = MAKE.replace("VERSION", version).replace("SPOIL", spoil);
        host.inside("vm1", &make).ok();
        let folder = host.scratch().join(format!("bundle-{version}"));
        host.berth("cp vm1:/root/bundle")
            .arg(folder.display().to_string())
            .ok();
        let channel = format!("bundle:{}", folder.display());
        let out = upgrade(host, "--channel").arg(channel).exits(1);
        taken_back(host, &before, &out, words);
        host.inside("vm1", "rm -f /var/full").ok();
    }
}
