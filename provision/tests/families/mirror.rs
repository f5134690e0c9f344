//! The repositories that machines of dnf's families have.

use std::fs;
use std::path::PathBuf;

use berth_provision::Upstream;
use berth_provision::family::{Family, Repository};
use berth_provision::os::Os;

use crate::rpm;
use crate::sandbox::Sandbox;

/// What RHEL's clones know of the release and of their mirrors beside its number.
const RELEASE: &str = "9.4.20";

/// What such a machine says it is.
pub const ROCKY: &str = "ID=rocky\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\n";

/// A server with upstream's repository and the distribution's.
pub struct Mirror {
    pub folder: tempfile::TempDir,
    /// Upstream's for this release.
    pub stable: PathBuf,
}

impl Mirror {
    /// Upstream's repository is at `path` beside its key, and empty.
    pub fn with(path: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stable = folder
            .path()
            .join(format!("linux/{path}/{}/stable", std::env::consts::ARCH));
        fs::create_dir_all(&stable).unwrap();
        Mirror { folder, stable }
    }

    /// What upstream publishes.
    pub fn upstream(&self, versions: &[&str]) {
        for version in versions {
            rpm::build(&self.stable, "docker-ce", 3, version);
            rpm::build(&self.stable, "docker-ce-cli", 1, version);
        }
        let needs = "Requires: container-selinux\nConflicts: runc\n";
        rpm::build_with(&self.stable, "containerd.io", 0, "1.7.27", needs);
        for other in ["docker-buildx-plugin", "docker-compose-plugin"] {
            rpm::build(&self.stable, other, 0, "1.7.27");
        }
    }

    /// What the distribution has, and where a machine finds it.
    pub fn distribution(&self, port: u16, sandbox: &Sandbox) {
        let folder = self.folder.path().join("rocky").join(RELEASE);
        fs::create_dir_all(&folder).unwrap();
        for package in ["runc", "container-selinux"] {
            rpm::build(&folder, package, 0, "1.0");
        }
        let tells = format!("Provides: system-release(releasever) = {RELEASE}\n");
        rpm::build_with(&folder, "rocky-release", 0, "9.4", &tells);
        rpm::index(&folder);
        sandbox.write("/etc/os-release", ROCKY);
        sandbox.write("/etc/dnf/vars/contentdir", "rocky\n");
        let repository = format!(
            "[baseos]\nname=BaseOS\nbaseurl=http://127.0.0.1:{port}/$contentdir/$releasever\nenabled=1\ngpgcheck=0\n"
        );
        sandbox.write("/etc/yum.repos.d/rocky.repo", &repository);
        sandbox.ok(&format!(
            "dnf -y --releasever={RELEASE} install rocky-release runc"
        ));
    }
}

/// Upstream's repository, as a family has a machine know it.
pub fn repository(family: &dyn Family, os: &Os, port: u16, fingerprint: &str) -> Repository {
    let address = format!("http://127.0.0.1:{port}");
    let upstream = Upstream::mirror(&address, Some(fingerprint)).unwrap();
    family.repository(os, &upstream).unwrap()
}
