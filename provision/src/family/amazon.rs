//! Amazon Linux 2023. It has Docker, and no Podman; upstream publishes nothing for it.

use super::dnf::Dnf;

pub(super) const AMAZON: Dnf = Dnf {
    name: "amazon",
    ids: &["amzn"],
    docker: &["docker", "containerd", "runc"],
    podman: &[],
    upstream: |os| {
        Err(format!(
            "Docker publishes no packages for {}",
            os.pretty_name
        ))
    },
};
