//! What the tests need on this computer. Berth's own needs are met by berth's own command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::fetch::{CLIENTS, VIRTIOFSD};
use crate::parts::succeed;

/// Programs that only the tests need, and Debian's packages with them.
const TEST_TOOLS: &[(&str, &str)] = &[
    ("/usr/sbin/sshd", "openssh-server"),
    ("/bin/busybox", "busybox-static"),
    ("/usr/bin/script", "bsdutils"),
    ("/usr/bin/gpg", "gpg"),
    ("/usr/bin/gpg-agent", "gpg-agent"),
    ("/usr/bin/gpgconf", "gpgconf"),
    ("/usr/bin/gpgv", "gpgv"),
    ("/usr/bin/xz", "xz-utils"),
    ("/usr/bin/zstd", "zstd"),
    ("/usr/bin/curl", "curl"),
    ("/usr/bin/sshfs", "sshfs"),
    // Package managers of other distributions, and what makes repositories for them.
    ("/usr/bin/dnf", "dnf"),
    ("/usr/bin/zypper", "zypper"),
    ("/usr/bin/rpmbuild", "rpm"),
    ("/usr/bin/createrepo_c", "createrepo-c"),
    ("/usr/bin/pacman", "pacman-package-manager"),
    // What pacman's repo-add is made of.
    ("/usr/share/makepkg/util/message.sh", "makepkg"),
    ("/usr/bin/bsdtar", "libarchive-tools"),
];

/// What only the tests with VMs need beside them: firmware, libvirt, its headers, and what its networks are made of.
const VM_TEST_TOOLS: &[(&str, &str)] = &[
    // Cloud images have a boot loader of their own.
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "ovmf"),
    ("/usr/bin/pkg-config", "pkg-config"),
    ("/usr/include/libvirt/libvirt.h", "libvirt-dev"),
    ("/usr/sbin/libvirtd", "libvirt-daemon"),
    ("/usr/bin/virsh", "libvirt-clients"),
    ("/usr/sbin/dnsmasq", "dnsmasq-base"),
    ("/usr/bin/passt", "passt"),
    ("/usr/sbin/iptables", "iptables"),
];

/// What is kept between runs.
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// `BERTH_TEST_CACHE`, or `~/.cache/berth-test`.
    pub fn from_environment() -> Self {
        let folder = match std::env::var_os("BERTH_TEST_CACHE").filter(|path| !path.is_empty()) {
            Some(path) => path.into(),
            None => PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()))
                .join(".cache/berth-test"),
        };
        // Tests run in folders of their own.
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        Cache { folder }
    }

    /// Where the tests' virtiofsd is.
    pub fn virtiofsd(&self) -> PathBuf {
        self.folder.join("virtiofsd")
    }

    /// Tells a program where the cache is; the images in it are berth's store.
    pub fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("BERTH_TEST_CACHE", &self.folder)
            .env("BERTH_IMAGES", self.folder.join("images"))
    }
}

/// Installs what is missing, and says what.
///
/// # Errors
/// If something cannot be had.
pub fn install(cache: &Cache, berth: &Command) -> Result<()> {
    fs::create_dir_all(&cache.folder).with_context(|| cache.folder.display().to_string())?;
    succeed(Command::new(berth.get_program()).args(["doctor", "--fix", "--yes"]))?;
    install_packages(TEST_TOOLS)?;
    CLIENTS.fetch(&cache.folder, &cache.folder.join("docker"))?;
    VIRTIOFSD.fetch(&cache.folder, &cache.virtiofsd())?;
    Ok(())
}

/// Installs what is missing of what only the tests with VMs need.
///
/// # Errors
/// If something cannot be had.
pub fn install_for_vms() -> Result<()> {
    install_packages(VM_TEST_TOOLS)
}

fn install_packages(tools: &[(&'static str, &'static str)]) -> Result<()> {
    let missing: Vec<&str> = tools
        .iter()
        .filter(|(program, _)| !Path::new(program).exists())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("the tests also need: {}", missing.join(", "));
    let install = || {
        let mut install = apt_get();
        install
            .args(["install", "--yes", "--no-install-recommends"])
            .args(&missing);
        succeed(&mut install)
    };
    // The lists of a fresh computer are empty or old.
    install().or_else(|_| {
        succeed(apt_get().args(["update", "--quiet"]))?;
        install()
    })
}

/// apt-get, which asks nothing.
pub fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
