//! Fedora.

use super::dnf::Dnf;

pub(super) const FEDORA: Dnf = Dnf {
    name: "fedora",
    ids: &["fedora"],
    docker: &["moby-engine", "docker-cli"],
    podman: &["podman"],
    upstream: |os| match os.version_id.parse::<u32>() {
        Ok(release) => Ok(("fedora", release.to_string())),
        Err(_) => Err(format!(
            "Docker publishes no packages for {}",
            os.pretty_name
        )),
    },
};
