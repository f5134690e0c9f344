//! The scripts of the families, run by the real package managers that Debian packages, on repositories made here.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod rpm;
mod sandbox;
#[path = "../common/serve.rs"]
mod serve;

use std::fs;
use std::path::Path;

use berth_provision::family::{self, Family, Source, is_version};
use berth_provision::os::Os;
use berth_provision::{Kind, Upstream};
use sandbox::Sandbox;

fn os(text: &str) -> Os {
    Os::parse(text.as_bytes())
}

fn family_of(os: &Os) -> &'static dyn Family {
    family::of(os, "m1").unwrap()
}

/// The packages that the family sees: `state name version`, one a line.
fn seen(sandbox: &Sandbox, family: &dyn Family) -> String {
    sandbox
        .run(family.packages_script())
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[test]
fn dnf_installs_from_upstream_and_goes_back() {
    let programs = ["dnf", "rpmbuild", "rpmsign", "createrepo_c", "gpg"];
    let Some(sandbox) = Sandbox::with(&programs) else {
        return;
    };
    let os = os("ID=rocky\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\n");
    let family = family_of(&os);
    let mirror = tempfile::tempdir().unwrap();
    let centos = mirror.path().join("linux/centos");
    let stable = centos.join(format!("9/{}/stable", std::env::consts::ARCH));
    fs::create_dir_all(&stable).unwrap();
    for version in ["27.0.1", "27.0.3", "28.0.0"] {
        rpm::build(&stable, "docker-ce", 3, version);
        rpm::build(&stable, "docker-ce-cli", 1, version);
    }
    for other in [
        "containerd.io",
        "docker-buildx-plugin",
        "docker-compose-plugin",
    ] {
        rpm::build(&stable, other, 0, "1.7.27");
    }
    let fingerprint = rpm::sign(&stable, &centos.join("gpg"));
    rpm::index(&stable);
    let (port, _) = serve::serve(mirror.path().to_owned());
    let upstream =
        Upstream::mirror(&format!("http://127.0.0.1:{port}"), Some(&fingerprint)).unwrap();
    let repository = family.repository(&os, &upstream).unwrap();
    let key = sandbox.ok(&family.fetch_script(&repository.key_url));
    assert!(key.contains("BEGIN PGP PUBLIC KEY BLOCK"), "{key}");

    // Without a trace, before the machine knows the repository.
    let elsewhere = Some((&repository, key.as_str()));
    let printed = sandbox.ok(&family.offers_script(Kind::Docker, Source::Upstream, elsewhere));
    let offered = family.offered(printed.as_bytes());
    assert_eq!(
        offered,
        ["3:28.0.0-1.test", "3:27.0.3-1.test", "3:27.0.1-1.test"]
    );
    assert!(
        sandbox
            .run(&format!("ls {}", repository.list_path))
            .is_err()
    );

    sandbox.write(repository.key_path, &key);
    sandbox.write(repository.list_path, &repository.list);
    let pinned = offered
        .iter()
        .find(|version| is_version(version, "27.0"))
        .unwrap();
    sandbox.ok(&family.install_script(Kind::Docker, Source::Upstream, Some(pinned)));
    assert_eq!(seen(&sandbox, family), "ii docker-ce 3:27.0.3-1.test");
    sandbox.ok(&family.keep_files_script(Kind::Docker, "/var/tmp/kept"));
    let kept = sandbox.ok("ls /var/tmp/kept");
    assert!(
        kept.contains("docker-ce-27.0.3-1.test.noarch.rpm"),
        "{kept}"
    );
    assert!(kept.contains("containerd.io-1.7.27"), "{kept}");

    sandbox.ok(&family.install_script(Kind::Docker, Source::Upstream, None));
    assert_eq!(seen(&sandbox, family), "ii docker-ce 3:28.0.0-1.test");
    sandbox.ok(&family.install_files_script("/var/tmp/kept"));
    assert_eq!(seen(&sandbox, family), "ii docker-ce 3:27.0.3-1.test");
    let cli = sandbox.ok("rpm -q docker-ce-cli");
    assert_eq!(cli.trim(), "docker-ce-cli-27.0.3-1.test.noarch");
    sandbox.ok(&family.install_script(Kind::Docker, Source::Upstream, Some("3:27.0.1-1.test")));
    assert_eq!(seen(&sandbox, family), "ii docker-ce 3:27.0.1-1.test");

    // Debian has not dnf's versionlock: this is what it writes, in dnf 4 and 5.
    for (path, text) in [
        (
            "/etc/dnf/plugins/versionlock.list",
            "# Added lock on Sun Nov 22\ndocker-ce-3:27.0.1-1.test.*\n",
        ),
        (
            "/etc/dnf/versionlock.toml",
            "version = \"1.0\"\n[[packages]]\nname = \"docker-ce\"\n",
        ),
    ] {
        let of_others = text.replace("docker-ce", "docker-ce-cli");
        sandbox.write(path, &of_others);
        assert_eq!(seen(&sandbox, family), "ii docker-ce 3:27.0.1-1.test");
        sandbox.write(path, text);
        assert_eq!(seen(&sandbox, family), "hi docker-ce 3:27.0.1-1.test");
        sandbox.write(path, "");
    }

    let words = sandbox.run(&family.install_script(Kind::Docker, Source::Distro, None));
    assert!(words.unwrap_err().contains("use the channel upstream"));
}

#[test]
fn dnf_refuses_a_package_that_another_key_signed() {
    let programs = ["dnf", "rpmbuild", "rpmsign", "createrepo_c", "gpg"];
    let Some(sandbox) = Sandbox::with(&programs) else {
        return;
    };
    let os = os("ID=fedora\nVERSION_ID=42\n");
    let family = family_of(&os);
    let mirror = tempfile::tempdir().unwrap();
    let fedora = mirror.path().join("linux/fedora");
    let stable = fedora.join(format!("42/{}/stable", std::env::consts::ARCH));
    fs::create_dir_all(&stable).unwrap();
    for package in [
        "docker-ce",
        "docker-ce-cli",
        "containerd.io",
        "docker-buildx-plugin",
        "docker-compose-plugin",
    ] {
        rpm::build(&stable, package, 0, "28.0.0");
    }
    rpm::sign(&stable, &fedora.join("gpg"));
    // The key of someone else.
    let other = tempfile::tempdir().unwrap();
    let key = other.path().join("key");
    let nothing = tempfile::tempdir().unwrap();
    let fingerprint = rpm::sign(nothing.path(), &key);
    rpm::index(&stable);
    let (port, _) = serve::serve(mirror.path().to_owned());
    let upstream =
        Upstream::mirror(&format!("http://127.0.0.1:{port}"), Some(&fingerprint)).unwrap();
    let repository = family.repository(&os, &upstream).unwrap();
    sandbox.write(repository.key_path, &fs::read_to_string(&key).unwrap());
    sandbox.write(repository.list_path, &repository.list);
    let words = sandbox.run(&family.install_script(Kind::Docker, Source::Upstream, None));
    let words = words.unwrap_err();
    assert!(words.contains("GPG"), "{words}");
    assert_eq!(seen(&sandbox, family), "");
}

#[test]
fn zypper_installs_holds_and_goes_back() {
    let Some(sandbox) = Sandbox::with(&["zypper", "rpmbuild", "createrepo_c"]) else {
        return;
    };
    let family = family_of(&os(
        "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\nVERSION_ID=\"15.6\"\n",
    ));
    let mirror = tempfile::tempdir().unwrap();
    for version in ["27.5.1", "28.3.3"] {
        rpm::build(mirror.path(), "docker", 0, version);
    }
    rpm::index(mirror.path());
    let (port, _) = serve::serve(mirror.path().to_owned());
    sandbox.ok(&format!(
        "zypper -n addrepo --no-gpgcheck --keep-packages http://127.0.0.1:{port}/ test"
    ));
    let printed = sandbox.ok(&family.offers_script(Kind::Docker, Source::Distro, None));
    assert_eq!(
        family.offered(printed.as_bytes()),
        ["28.3.3-1.test", "27.5.1-1.test"]
    );
    sandbox.ok(&family.install_script(Kind::Docker, Source::Distro, Some("27.5.1-1.test")));
    assert_eq!(seen(&sandbox, family), "ii docker 27.5.1-1.test");
    sandbox.ok(&family.keep_files_script(Kind::Docker, "/var/tmp/kept"));
    sandbox.ok(&family.pin_script(Kind::Docker));
    assert_eq!(seen(&sandbox, family), "hi docker 27.5.1-1.test");
    sandbox.ok("zypper -n update");
    assert_eq!(seen(&sandbox, family), "hi docker 27.5.1-1.test");
    sandbox.ok(&family.unpin_script(Kind::Docker));
    sandbox.ok(&family.install_script(Kind::Docker, Source::Distro, Some("28.3.3-1.test")));
    assert_eq!(seen(&sandbox, family), "ii docker 28.3.3-1.test");
    sandbox.ok(&family.install_files_script("/var/tmp/kept"));
    assert_eq!(seen(&sandbox, family), "ii docker 27.5.1-1.test");
}

#[test]
fn pacman_installs_holds_and_goes_back() {
    let Some(sandbox) = Sandbox::with(&["pacman", "repo-add", "bsdtar"]) else {
        return;
    };
    let family = family_of(&os("ID=arch\n"));
    let mirror = tempfile::tempdir().unwrap();
    let first = pacman_package(mirror.path(), "docker", "1:27.5.1-1");
    sandbox.write(
        "/etc/pacman.conf",
        &format!(
            "[options]\nArchitecture = auto\nSigLevel = Never\n[test]\nServer = file://{}\n",
            mirror.path().display()
        ),
    );
    sandbox.ok("mkdir -p /var/lib/pacman/sync /var/lib/pacman/local /var/cache/pacman/pkg");
    pacman_index(mirror.path(), &first);
    let printed = sandbox.ok(&family.offers_script(Kind::Docker, Source::Distro, None));
    assert_eq!(family.offered(printed.as_bytes()), ["1:27.5.1-1"]);
    sandbox.ok(&family.install_script(Kind::Docker, Source::Distro, None));
    assert_eq!(seen(&sandbox, family), "ii docker 1:27.5.1-1");
    sandbox.ok(&format!(
        "cp {}/{first} /var/cache/pacman/pkg/",
        mirror.path().display()
    ));
    sandbox.ok(&family.keep_files_script(Kind::Docker, "/var/tmp/kept"));
    sandbox.ok(&family.pin_script(Kind::Docker));
    assert_eq!(seen(&sandbox, family), "hi docker 1:27.5.1-1");
    let second = pacman_package(mirror.path(), "docker", "1:28.3.3-1");
    pacman_index(mirror.path(), &second);
    // Twice `y`: an index that was written in the same second as the one before counts as that.
    sandbox.ok("pacman --noconfirm -Syyu");
    assert_eq!(seen(&sandbox, family), "hi docker 1:27.5.1-1");
    sandbox.ok(&family.unpin_script(Kind::Docker));
    sandbox.ok("pacman --noconfirm -Syyu");
    assert_eq!(seen(&sandbox, family), "ii docker 1:28.3.3-1");
    sandbox.ok(&family.install_files_script("/var/tmp/kept"));
    assert_eq!(seen(&sandbox, family), "ii docker 1:27.5.1-1");
}

/// A package that has nothing in it, as makepkg would write it.
fn pacman_package(folder: &Path, name: &str, version: &str) -> String {
    let work = tempfile::tempdir().unwrap();
    let info = format!(
        "pkgname = {name}\npkgbase = {name}\npkgver = {version}\npkgdesc = x\nsize = 0\narch = any\n"
    );
    fs::write(work.path().join(".PKGINFO"), info).unwrap();
    let file = format!("{name}-{version}-any.pkg.tar.gz");
    let made = std::process::Command::new("bsdtar")
        .arg("-czf")
        .arg(folder.join(&file))
        .arg("-C")
        .arg(work.path())
        .arg(".PKGINFO")
        .status();
    assert!(made.unwrap().success());
    file
}

fn pacman_index(folder: &Path, file: &str) {
    let made = std::process::Command::new("repo-add")
        .arg("--quiet")
        .arg(folder.join("test.db.tar.gz"))
        .arg(folder.join(file))
        .status();
    assert!(made.unwrap().success());
}
