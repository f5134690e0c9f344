//! Packages for dnf and zypper.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Builds a package that has nothing in it but its name.
pub fn build(folder: &Path, name: &str, epoch: u32, version: &str) {
    build_with(folder, name, epoch, version, "");
}

/// As [`build`], with more lines of its description.
pub fn build_with(folder: &Path, name: &str, epoch: u32, version: &str, more: &str) {
    let work = tempfile::tempdir().unwrap();
    let spec = work.path().join("x.spec");
    let epoch = match epoch {
        0 => String::new(),
        epoch => format!("Epoch: {epoch}\n"),
    };
    let text = format!(
        "Name: {name}\n{epoch}Version: {version}\nRelease: 1.test\nSummary: a stand-in\nLicense: none\n\
         BuildArch: noarch\n{more}%description\nA stand-in.\n%files\n"
    );
    fs::write(&spec, text).unwrap();
    // Debian's rpm keeps a database in the home of whoever asks it anything.
    run(Command::new("rpmbuild")
        .env("HOME", work.path())
        .args(["-bb", "--quiet", "--define"])
        .arg(format!("_topdir {}", work.path().display()))
        .arg("--define")
        .arg(format!("_rpmdir {}", folder.display()))
        .args([
            "--define",
            "_build_name_fmt %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm",
        ])
        .arg(&spec));
}

/// Signs all packages of a folder with a new key, which is exported to `key`; returns its fingerprint.
pub fn sign(folder: &Path, key: &Path) -> String {
    let home = tempfile::tempdir().unwrap();
    let gpg = |arguments: &[&str]| {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(home.path());
        gpg.args(["--batch", "--quiet", "--passphrase", ""])
            .args(arguments);
        run(&mut gpg)
    };
    gpg(&["--quick-gen-key", "mirror@test", "rsa2048"]);
    gpg(&["--armor", "--output", key.to_str().unwrap(), "--export"]);
    for file in fs::read_dir(folder).unwrap() {
        run(Command::new("rpmsign")
            .env("HOME", home.path())
            .env("GNUPGHOME", home.path())
            .args(["--define", "__gpg /usr/bin/gpg"])
            .args(["--define", "_gpg_name mirror@test", "--addsign"])
            .arg(file.unwrap().path()));
    }
    let listed = gpg(&["--with-colons", "--list-keys"]);
    let _ = Command::new("gpgconf")
        .arg("--homedir")
        .arg(home.path())
        .args(["--kill", "all"])
        .status();
    let line = listed
        .lines()
        .find(|line| line.starts_with("fpr:"))
        .unwrap();
    line.split(':').nth(9).unwrap().to_owned()
}

/// Makes a folder of packages a repository.
pub fn index(folder: &Path) {
    run(Command::new("createrepo_c").arg("--quiet").arg(folder));
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
