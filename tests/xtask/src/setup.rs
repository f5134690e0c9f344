//! What the tests need on this computer. Berth's own needs are met by berth's own command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

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
    // Package managers of other distributions, and what makes repositories for them.
    ("/usr/bin/dnf", "dnf"),
    ("/usr/bin/zypper", "zypper"),
    ("/usr/bin/rpmbuild", "rpm"),
    ("/usr/bin/createrepo_c", "createrepo-c"),
    ("/usr/bin/pacman", "pacman-package-manager"),
    ("/usr/bin/bsdtar", "libarchive-tools"),
];

/// What only the tests with VMs need beside them: libvirt, its headers, and what its networks are made of.
const VM_TEST_TOOLS: &[(&str, &str)] = &[
    ("/usr/bin/pkg-config", "pkg-config"),
    ("/usr/include/libvirt/libvirt.h", "libvirt-dev"),
    ("/usr/sbin/libvirtd", "libvirt-daemon"),
    ("/usr/bin/virsh", "libvirt-clients"),
    ("/usr/sbin/dnsmasq", "dnsmasq-base"),
    ("/usr/sbin/iptables", "iptables"),
];

/// Where the docker client and its compose plugin come from: Debian 12 has the plugin in no suite.
const DOCKER_SUITE: &str = "trixie";
const DOCKER_PACKAGES: &[&str] = &["docker-cli", "docker-compose"];
const DOCKER_PROGRAMS: &[&str] = &[
    "usr/bin/docker",
    "usr/libexec/docker/cli-plugins/docker-compose",
];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

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
    let docker = cache.folder.join("docker");
    if DOCKER_PROGRAMS
        .iter()
        .any(|path| !docker.join(path).exists())
    {
        fetch_docker(&cache.folder, &docker)?;
    }
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

/// Unpacks Debian's docker client into the cache; nothing of it is installed.
fn fetch_docker(cache: &Path, docker: &Path) -> Result<()> {
    eprintln!(
        "the docker client of {DOCKER_SUITE} goes to {}: {}",
        docker.display(),
        DOCKER_PACKAGES.join(", ")
    );
    // An apt of its own, so that this computer's sources and lists stay as they are.
    let root = cache.join("apt");
    let draft = cache.join("docker.new");
    for folder in [&root, &draft] {
        remove(folder)?;
    }
    for folder in [
        "etc/apt/apt.conf.d",
        "etc/apt/preferences.d",
        "etc/apt/sources.list.d",
        "etc/apt/trusted.gpg.d",
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
        "var/lib/dpkg",
        "var/log/apt",
        "debs",
    ] {
        fs::create_dir_all(root.join(folder))?;
    }
    let status = root.join("var/lib/dpkg/status");
    fs::write(&status, "")?;
    fs::write(
        root.join("etc/apt/sources.list"),
        format!("deb [signed-by={KEYRING}] http://deb.debian.org/debian {DOCKER_SUITE} main\n"),
    )?;
    let apt = || {
        let mut apt = apt_get();
        apt.arg("-o")
            .arg(format!("Dir={}", root.display()))
            .arg("-o")
            .arg(format!("Dir::State::status={}", status.display()))
            .args(["-o", "APT::Sandbox::User=root"])
            .args(["-o", "Acquire::Languages=none"])
            .current_dir(root.join("debs"));
        apt
    };
    succeed(apt().args(["update", "--quiet"]))?;
    succeed(apt().arg("download").args(DOCKER_PACKAGES))?;
    for package in fs::read_dir(root.join("debs"))? {
        succeed(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(package?.path())
                .arg(&draft),
        )?;
    }
    for program in DOCKER_PROGRAMS {
        answers(&draft.join(program))?;
    }
    remove(docker)?;
    fs::rename(&draft, docker)?;
    remove(&root)
}

/// A program that this computer's C library cannot run is noticed here, not in every test.
fn answers(program: &Path) -> Result<()> {
    let output = Command::new(program)
        .arg("--help")
        .stdin(Stdio::null())
        .output()
        .with_context(|| program.display().to_string())?;
    if !output.status.success() {
        bail!(
            "{} does not run here: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| folder.display().to_string())
        }
        _ => Ok(()),
    }
}
