//! Red Hat Enterprise Linux and what is made of it: AlmaLinux, Rocky, CentOS Stream, Oracle. They have Podman, and no
//! Docker.

use super::dnf::Dnf;

pub(super) const RHEL: Dnf = Dnf {
    name: "rhel",
    ids: &["rhel", "almalinux", "rocky", "centos", "ol"],
    docker: &[],
    podman: &["podman"],
    upstream: |os| {
        let major = os.version_id.split('.').next().unwrap_or_default();
        match (os.id.as_str(), major.parse::<u32>()) {
            ("rhel", Ok(major)) => Ok(("rhel", major.to_string())),
            (_, Ok(major)) => Ok(("centos", major.to_string())),
            _ => Err(format!(
                "Docker publishes no packages for {}",
                os.pretty_name
            )),
        }
    },
};
