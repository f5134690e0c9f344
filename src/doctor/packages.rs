//! Installing missing programs with the system's package manager.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use berth_driver_api::process;
use tokio::process::Command;

/// Which package brings a program: by Debian's apt, Fedora's dnf, Arch's pacman and openSUSE's zypper. Empty where
/// the name is not known.
const PACKAGES: &[(&str, [&str; 4])] = &[
    (
        "qemu-system-x86_64",
        [
            "qemu-system-x86",
            "qemu-system-x86-core",
            "qemu-system-x86",
            "qemu-x86",
        ],
    ),
    (
        "qemu-system-aarch64",
        [
            "qemu-system-arm",
            "qemu-system-aarch64-core",
            "qemu-system-aarch64",
            "qemu-arm",
        ],
    ),
    (
        "qemu-img",
        ["qemu-utils", "qemu-img", "qemu-img", "qemu-img"],
    ),
    (
        "uefi-firmware-x86_64",
        ["ovmf", "edk2-ovmf", "edk2-ovmf", "qemu-ovmf-x86_64"],
    ),
    (
        "uefi-firmware-aarch64",
        [
            "qemu-efi-aarch64",
            "edk2-aarch64",
            "edk2-aarch64",
            "qemu-uefi-aarch64",
        ],
    ),
    ("mmdebstrap", ["mmdebstrap", "mmdebstrap", "", ""]),
    (
        "sfdisk",
        ["fdisk", "util-linux", "util-linux", "util-linux"],
    ),
    (
        "mke2fs",
        ["e2fsprogs", "e2fsprogs", "e2fsprogs", "e2fsprogs"],
    ),
    ("mcopy", ["mtools", "mtools", "mtools", "mtools"]),
    ("mformat", ["mtools", "mtools", "mtools", "mtools"]),
    ("mmd", ["mtools", "mtools", "mtools", "mtools"]),
    ("fakeroot", ["fakeroot", "fakeroot", "fakeroot", "fakeroot"]),
    ("newuidmap", ["uidmap", "shadow-utils", "shadow", "shadow"]),
    ("gpgv", ["gpgv", "gnupg2", "gnupg", "gpg2"]),
    ("tar", ["tar", "tar", "tar", "tar"]),
    ("zstd", ["zstd", "zstd", "zstd", "zstd"]),
    (
        "ssh",
        [
            "openssh-client",
            "openssh-clients",
            "openssh",
            "openssh-clients",
        ],
    ),
    ("docker", ["docker-cli", "docker-cli", "docker", "docker"]),
    ("passt", ["passt", "passt", "passt", "passt"]),
    ("dpkg", ["dpkg", "dpkg", "dpkg", "dpkg"]),
    ("dpkg-deb", ["dpkg", "dpkg", "dpkg", "dpkg"]),
    ("apt-get", ["apt", "apt", "apt", ""]),
    ("patchelf", ["patchelf", "patchelf", "patchelf", "patchelf"]),
    ("strip", ["binutils", "binutils", "binutils", "binutils"]),
];

/// A package manager of this computer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installer {
    /// Debian, Ubuntu
    Apt,
    /// Fedora and its relatives
    Dnf,
    /// Arch
    Pacman,
    /// openSUSE
    Zypper,
}

/// What would be done to this computer: said before it is.
#[derive(Debug, Clone)]
pub struct Plan {
    installer: Installer,
    /// Packages, each once.
    pub packages: Vec<String>,
    /// Programs that no package is known for.
    pub unknown: Vec<String>,
    /// The release whose backports have to be added to apt's sources, since what is installed already came from there.
    backports: Option<String>,
}

/// Nothing that is installed makes room for what is not: apt would remove a newer QEMU's tools for an older QEMU.
const APT_INSTALL: &[&str] = &[
    "apt-get",
    "install",
    "--yes",
    "--no-install-recommends",
    "--no-remove",
];

impl Installer {
    /// The one that this computer has.
    pub fn find() -> Option<Self> {
        [
            ("apt-get", Installer::Apt),
            ("dnf", Installer::Dnf),
            ("pacman", Installer::Pacman),
            ("zypper", Installer::Zypper),
        ]
        .into_iter()
        .find(|(tool, _)| process::find(tool).is_some())
        .map(|(_, installer)| installer)
    }

    fn command(self) -> &'static [&'static str] {
        match self {
            Installer::Apt => APT_INSTALL,
            Installer::Dnf => &[
                "dnf",
                "install",
                "--assumeyes",
                "--setopt=install_weak_deps=False",
            ],
            Installer::Pacman => &["pacman", "-S", "--noconfirm", "--needed"],
            Installer::Zypper => &["zypper", "--non-interactive", "install", "--no-recommends"],
        }
    }
}

impl Plan {
    /// The plan that brings `programs`; refreshes the package lists if they are empty.
    ///
    /// # Errors
    /// If this computer has no package manager that berth knows, or it fails.
    pub async fn make(programs: &[String]) -> Result<Self> {
        let Some(installer) = Installer::find() else {
            bail!(
                "no package manager that berth knows is here; install by hand: {}",
                programs.join(", ")
            );
        };
        let mut plan = Plan {
            installer,
            packages: Vec::new(),
            unknown: Vec::new(),
            backports: None,
        };
        for program in programs {
            let known = PACKAGES.iter().find(|(tool, _)| tool == program);
            match known.map(|(_, names)| names[installer as usize]) {
                Some("") | None => plan.unknown.push(program.clone()),
                Some(package) if plan.packages.iter().any(|p| p == package) => {}
                Some(package) => plan.packages.push(package.to_owned()),
            }
        }
        if installer == Installer::Apt && !plan.packages.is_empty() {
            run(&["apt-get", "update", "--quiet"]).await?;
            plan.settle_apt().await?;
        }
        Ok(plan)
    }

    /// What the plan does, a line each.
    pub fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(release) = &self.backports {
            lines.push(format!(
                "add {release}-backports to apt's sources, in {BACKPORTS_FILE}: QEMU packages that are installed here came from there"
            ));
        }
        lines.push(format!(
            "{} {}",
            self.installer.command().join(" "),
            self.packages.join(" ")
        ));
        lines
    }

    /// Carries the plan out; the package manager's own output goes to stderr.
    ///
    /// # Errors
    /// If the package manager fails.
    pub async fn carry_out(&self) -> Result<()> {
        if let Some(release) = &self.backports {
            add_backports(release).await?;
            let (qemu, rest): (Vec<&String>, Vec<&String>) = self
                .packages
                .iter()
                .partition(|package| package.starts_with("qemu"));
            let target = format!("{release}-backports");
            let mut command: Vec<&str> = self.installer.command().to_vec();
            command.extend(["--target-release", &target]);
            command.extend(qemu.iter().map(|p| p.as_str()));
            run(&command).await?;
            return self.install(&rest).await;
        }
        self.install(&self.packages.iter().collect::<Vec<_>>())
            .await
    }

    async fn install(&self, packages: &[&String]) -> Result<()> {
        if packages.is_empty() {
            return Ok(());
        }
        let mut command: Vec<&str> = self.installer.command().to_vec();
        command.extend(packages.iter().map(|p| p.as_str()));
        run(&command).await
    }

    async fn settle_apt(&mut self) -> Result<()> {
        // Debian 12 has the docker client only together with the engine.
        for package in &mut self.packages {
            if package == "docker-cli" && !apt_offers(package).await {
                *package = "docker.io".into();
            }
        }
        let simulated: Vec<&str> = APT_INSTALL
            .iter()
            .copied()
            .chain(["--simulate"])
            .chain(self.packages.iter().map(String::as_str))
            .collect();
        if !succeeds(&simulated).await
            && self
                .packages
                .iter()
                .any(|package| package.starts_with("qemu"))
            && installed_qemu_is_a_backport().await
        {
            self.backports = debian_codename();
        }
        Ok(())
    }
}

const BACKPORTS_FILE: &str = "/etc/apt/sources.list.d/berth-backports.sources";

async fn add_backports(release: &str) -> Result<()> {
    let text = format!(
        "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: {release}-backports\nComponents: main\n\
         Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    );
    run(&[
        "sh",
        "-c",
        "printf %s \"$0\" > \"$1\"",
        &text,
        BACKPORTS_FILE,
    ])
    .await?;
    run(&["apt-get", "update", "--quiet"]).await
}

async fn apt_offers(package: &str) -> bool {
    let Ok(mut command) = process::command("apt-cache") else {
        return false;
    };
    command.args(["policy", package]);
    process::output(command).await.is_ok_and(|out| {
        String::from_utf8_lossy(&out).contains("Candidate: ")
            && !String::from_utf8_lossy(&out).contains("Candidate: (none)")
    })
}

async fn installed_qemu_is_a_backport() -> bool {
    let Ok(mut command) = process::command("dpkg-query") else {
        return false;
    };
    command.args([
        "--show",
        "--showformat",
        "${db:Status-Status} ${Version}\\n",
        "qemu*",
    ]);
    process::output(command).await.is_ok_and(|out| {
        String::from_utf8_lossy(&out)
            .lines()
            .any(|line| line.starts_with("installed ") && line.contains("~bpo"))
    })
}

fn debian_codename() -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    if !text.lines().any(|line| line == "ID=debian") {
        return None;
    }
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(line.trim_matches('"').to_owned())
}

/// `sudo` for those who need it; it asks for its password itself.
fn as_root(words: &[&str]) -> Result<Command> {
    let (program, arguments) = match nix::unistd::geteuid().is_root() {
        true => (words[0], &words[1..]),
        false => ("sudo", words),
    };
    let path = process::find(program).with_context(|| format!("{program} is not installed"))?;
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .kill_on_drop(true);
    Ok(command)
}

async fn run(words: &[&str]) -> Result<()> {
    // Results alone go to stdout.
    let status = as_root(words)?
        .stdout(std::io::stderr())
        .status()
        .await
        .with_context(|| words[0].to_owned())?;
    if !status.success() {
        bail!("`{}` failed: {status}", words.join(" "));
    }
    Ok(())
}

async fn succeeds(words: &[&str]) -> bool {
    let Ok(mut command) = process::command(words[0]) else {
        return false;
    };
    command
        .args(&words[1..])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}
