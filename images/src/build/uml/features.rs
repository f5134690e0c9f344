//! What a User Mode Linux kernel can do, read from its configuration.

use std::collections::BTreeMap;

use crate::{Error, KernelInfo, Result};

/// Built in, or no guest of berth's boots.
const REQUIRED: &[&str] = &[
    "BINFMT_ELF",
    "BINFMT_SCRIPT",
    "BLK_DEV_INITRD",
    "BLK_DEV_UBD",
    "CGROUPS",
    "DEVTMPFS",
    "EFI_PARTITION",
    "EXT4_FS",
    "TMPFS",
    "UML_NET_VECTOR",
];

/// An ability: its name, the parts of the kernel that make it, built in or as modules, and what its absence means to a
/// container host.
struct Feature(&'static str, &'static [&'static str], Option<&'static str>);

const FEATURES: &[Feature] = &[
    Feature("smp", &["SMP"], Some("one CPU")),
    Feature("iptables-nat", &["IP_NF_NAT"], None),
    Feature(
        "nftables-nat",
        &["NF_TABLES_IPV4", "NFT_NAT", "NFT_MASQ"],
        None,
    ),
    Feature(
        "overlay",
        &["OVERLAY_FS"],
        Some("no overlay file system: containers start slowly"),
    ),
    Feature(
        "bridge",
        &["BRIDGE", "VETH"],
        Some("no bridges: containers use the machine's network"),
    ),
    Feature("macvlan", &["MACVLAN"], None),
    Feature("ipvlan", &["IPVLAN"], None),
    Feature(
        "vxlan",
        &["VXLAN"],
        Some("no vxlan: no swarm overlay networks"),
    ),
    Feature("ipvs", &["IP_VS"], None),
    Feature("ipv6", &["IPV6"], Some("no IPv6")),
    Feature("tun", &["TUN"], None),
    Feature("fuse", &["FUSE_FS"], None),
    Feature("nfs", &["NFS_FS"], None),
    Feature(
        "cpuset",
        &["CPUSETS"],
        Some("no cpuset cgroup: containers cannot be bound to CPUs"),
    ),
    Feature(
        "memory-cgroup",
        &["MEMCG"],
        Some("no memory cgroup: containers' memory has no limits"),
    ),
    Feature(
        "cpu-quota",
        &["CFS_BANDWIDTH"],
        Some("no CPU quota: containers' share of the CPU has no limits"),
    ),
    Feature(
        "pids-cgroup",
        &["CGROUP_PIDS"],
        Some("no pids cgroup: containers' processes have no limits"),
    ),
    Feature(
        "io-throttling",
        &["BLK_DEV_THROTTLING"],
        Some("no block I/O throttling"),
    ),
    Feature("user-namespaces", &["USER_NS"], Some("no user namespaces")),
    Feature(
        "seccomp-filter",
        &["SECCOMP_FILTER"],
        Some("no seccomp filter: containers may make every system call"),
    ),
    Feature("apparmor", &["SECURITY_APPARMOR"], None),
    Feature("landlock", &["SECURITY_LANDLOCK"], None),
];

/// The mode that needs no ptrace is a parameter of the kernel program, not of its configuration.
const SECCOMP_MODE: &str = "seccomp-mode";
const SECCOMP_PARAMETER: &str = "seccomp=";
/// Measures how fast the CPU computes RAID 6, for 0.9 of the 1.0 s that the kernel takes to start. Without it there is none.
const BENCHMARK: &str = "CONFIG_RAID6_PQ_BENCHMARK=y";
const NO_RAID: &str = "no RAID 6: the kernel starts without its benchmark";
const NAT: &[&str] = &["iptables-nat", "nftables-nat"];
const NO_NAT: &[&str] = &[
    "no iptables: published ports by docker's user-land proxy",
    "no iptables: swarm services by host-mode ports and DNS round-robin only",
];

/// Reads what the kernel prints for `--version`, `--showconfig` and `--help`.
///
/// # Errors
/// [`Error::Tool`] if that makes no sense, or berth's guests would not boot with this kernel.
pub(crate) fn read(version: &str, config: &str, help: &str) -> Result<KernelInfo> {
    let failed = |detail: String| Err(Error::tool("linux", detail));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
    if !version.starts_with(|c: char| c.is_ascii_digit()) || !version.bytes().all(plain) {
        return failed(format!("{version:?} is not a kernel's version"));
    }
    let benchmark = config.lines().any(|line| line == BENCHMARK);
    let config: BTreeMap<&str, &str> = config
        .lines()
        .filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('='))
        .collect();
    if let Some(missing) = REQUIRED
        .iter()
        .find(|option| config.get(**option) != Some(&"y"))
    {
        return failed(format!(
            "the kernel {version} does not have {missing} built in, which guests need"
        ));
    }
    let mut info = KernelInfo {
        version: version.to_owned(),
        has: Vec::new(),
        lacks: Vec::new(),
        limits: Vec::new(),
    };
    let mut note = |name: &str, there: bool| match there {
        true => info.has.push(name.to_owned()),
        false => info.lacks.push(name.to_owned()),
    };
    let seccomp_mode = help.lines().any(|line| line.starts_with(SECCOMP_PARAMETER));
    note(SECCOMP_MODE, seccomp_mode);
    for Feature(name, options, limit) in FEATURES {
        let there = options
            .iter()
            .all(|option| matches!(config.get(option), Some(&("y" | "m"))));
        note(name, there);
        if let (false, Some(limit)) = (there, limit) {
            info.limits.push((*limit).to_owned());
        }
    }
    if !has_nat(&info) {
        info.limits
            .extend(NO_NAT.iter().map(|line| (*line).to_owned()));
    }
    if benchmark {
        info.limits.push(NO_RAID.to_owned());
    }
    Ok(info)
}

/// Parameters that this kernel is to be started with, whatever the guest.
pub(crate) fn parameters(config: &str) -> String {
    // 256 pairs of terminals of the old kind are devices, all of which udev would look at.
    let mut words = vec!["pty.legacy_count=0"];
    if config.lines().any(|line| line == BENCHMARK) {
        // The function has one of these names, by the kernel's version.
        words.push("initcall_blacklist=raid6_select_algo,raid6_init");
    }
    words.join(" ")
}

/// Whether it translates addresses, as docker wants for published ports and for containers' way out.
pub(crate) fn has_nat(info: &KernelInfo) -> bool {
    info.has.iter().any(|name| NAT.contains(&name.as_str()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The configuration of a kernel that boots guests, with `more` in it.
    pub(crate) fn config(more: &[&str]) -> String {
        let required = REQUIRED.iter().map(|option| format!("CONFIG_{option}=y\n"));
        let more = more.iter().map(|line| format!("CONFIG_{line}\n"));
        required.chain(more).collect()
    }

    #[test]
    fn abilities_are_read_not_assumed() {
        for (more, help, has, limit) in [
            (&["SMP=y"][..], "", "smp", ""),
            (&["SMP=n"], "", "", "one CPU"),
            (&[], "  see seccomp=\n", "", "no iptables: published"),
            (
                &[],
                "seccomp=<on/auto/off>\n  whether\n",
                "seccomp-mode",
                "no vxlan",
            ),
            (&["IP_NF_NAT=m"], "", "iptables-nat", ""),
            (
                &["NF_TABLES_IPV4=y", "NFT_NAT=m"],
                "",
                "",
                "no iptables: published",
            ),
            (
                &["NF_TABLES_IPV4=y", "NFT_NAT=m", "NFT_MASQ=m"],
                "",
                "nftables-nat",
                "",
            ),
            (&["VXLAN=m"], "", "vxlan", "one CPU"),
        ] {
            let info = read("7.2.7", &config(more), help).unwrap();
            let known = info.has.len() + info.lacks.len();
            assert_eq!(known, FEATURES.len() + 1, "{more:?}");
            assert!(
                has.is_empty() || info.has.iter().any(|name| name == has),
                "{more:?} {info:?}"
            );
            assert!(
                !info.lacks.iter().any(|name| name == has),
                "{more:?} {info:?}"
            );
            assert!(
                info.limits.iter().any(|line| line.starts_with(limit)),
                "{more:?} {info:?}"
            );
            assert_eq!(
                has_nat(&info),
                !info.limits.iter().any(|line| line == NO_NAT[0])
            );
        }
    }

    #[test]
    fn the_benchmark_is_left_out_where_there_is_one() {
        let with = config(&["RAID6_PQ_BENCHMARK=y"]);
        assert!(parameters(&with).contains("raid6_init"));
        assert!(!parameters(&config(&[])).contains("raid6"));
    }

    #[test]
    fn a_kernel_that_boots_no_guest_is_refused() {
        let module = config(&[]).replace("EXT4_FS=y", "EXT4_FS=m");
        let error = read("7.2.7", &module, "").unwrap_err().to_string();
        assert!(error.contains("EXT4_FS"), "{error}");
        for version in ["", "x", "7.2'; reboot", "../7", "7/2"] {
            assert!(read(version, &config(&[]), "").is_err(), "{version}");
        }
    }
}
