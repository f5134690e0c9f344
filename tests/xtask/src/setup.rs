//! What the tests need on this computer. Berth's own needs are met by berth's own command.

use std::fs;
use std::os::unix::fs::PermissionsExt;
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
    ("/usr/bin/sshfs", "sshfs"),
    // Package managers of other distributions, and what makes repositories for them.
    ("/usr/bin/dnf", "dnf"),
    ("/usr/bin/zypper", "zypper"),
    ("/usr/bin/rpmbuild", "rpm"),
    ("/usr/bin/createrepo_c", "createrepo-c"),
    ("/usr/bin/pacman", "pacman-package-manager"),
    ("/usr/bin/bsdtar", "libarchive-tools"),
];

/// Where the docker client and its compose plugin come from: Debian 12 has the plugin in no suite. virtiofsd too.
const DOCKER_SUITE: &str = "trixie";
const DOCKER_PACKAGES: &[&str] = &["docker-cli", "docker-compose"];
const DOCKER_PROGRAMS: &[&str] = &[
    "usr/bin/docker",
    "usr/libexec/docker/cli-plugins/docker-compose",
];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The server of virtiofs, which Debian 12 has in no suite, and the libraries that it runs with on any computer.
const VIRTIOFSD_PACKAGES: &[&str] = &[
    "virtiofsd",
    "libc6",
    "libcap-ng0",
    "libgcc-s1",
    "libseccomp2",
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
    install_test_tools()?;
    let docker = cache.folder.join("docker");
    if DOCKER_PROGRAMS
        .iter()
        .any(|path| !docker.join(path).exists())
    {
        fetch_docker(&cache.folder, &docker)?;
    }
    let virtiofsd = cache.virtiofsd();
    if !virtiofsd.join("virtiofsd").exists() {
        fetch_virtiofsd(&cache.folder, &virtiofsd)?;
    }
    Ok(())
}

fn install_test_tools() -> Result<()> {
    let missing: Vec<&str> = TEST_TOOLS
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
    let draft = unpack(cache, docker, DOCKER_PACKAGES)?;
    for program in DOCKER_PROGRAMS {
        answers(&draft.join(program))?;
    }
    remove(docker)?;
    Ok(fs::rename(&draft, docker)?)
}

/// Unpacks Debian's virtiofsd into the cache, with a command that starts it by its own C library.
fn fetch_virtiofsd(cache: &Path, folder: &Path) -> Result<()> {
    let draft = unpack(cache, folder, VIRTIOFSD_PACKAGES)?;
    let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let mut loaders = fs::read_dir(draft.join(&libraries))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("ld-linux"));
    let loader = loaders.next().context("libc6 has no loader")?;
    let program = draft.join("virtiofsd");
    let script = format!(
        "#!/bin/sh\nd=$(dirname \"$0\")\nexec \"$d/{libraries}/{loader}\" --library-path \"$d/{libraries}\" \
         \"$d/usr/libexec/virtiofsd\" \"$@\"\n"
    );
    fs::write(&program, script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    answers(&program)?;
    remove(folder)?;
    Ok(fs::rename(&draft, folder)?)
}

/// Unpacks packages of a later Debian into a draft of `folder`, and says where that is.
fn unpack(cache: &Path, folder: &Path, packages: &[&str]) -> Result<PathBuf> {
    eprintln!(
        "of {DOCKER_SUITE} these go to {}: {}",
        folder.display(),
        packages.join(", ")
    );
    // An apt of its own, so that this computer's sources and lists stay as they are.
    let root = cache.join("apt");
    let draft = folder.with_extension("new");
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
    succeed(apt().arg("download").args(packages))?;
    for package in fs::read_dir(root.join("debs"))? {
        succeed(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(package?.path())
                .arg(&draft),
        )?;
    }
    remove(&root)?;
    Ok(draft)
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
