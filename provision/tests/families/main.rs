//! The scripts of the families, run by the real package managers that Debian packages, on repositories made here.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod dnf;
mod dnf5;
mod mirror;
mod rpm;
mod sandbox;
#[path = "../common/serve.rs"]
mod serve;

use std::fs;
use std::path::Path;

use berth_provision::Kind;
use berth_provision::family::{self, Family, Source};
use berth_provision::os::Os;
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
