//! A repository on this computer's loopback, laid out and signed as download.docker.com is. Its packages are Debian's
//! own under the names of Docker's.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use super::serve;

const VERSIONS: &[&str] = &["27.0.1", "27.0.3", "28.0.0"];

/// This computer's loopback, as a machine with user networking sees it.
const HOST: &str = "10.0.2.2";

pub struct Repository {
    /// Its address in the machine.
    pub address: String,
    /// Its key's fingerprint.
    pub fingerprint: String,
    folder: PathBuf,
    closed: Arc<AtomicBool>,
    port: u16,
}

impl Repository {
    /// Makes it in `scratch`, of the packages in `bundle`, which are left in the folder `packages`.
    pub fn make(scratch: &Path, bundle: &Path) -> Self {
        let packages = scratch.join("packages");
        fs::create_dir(&packages).unwrap();
        run("tar", &["-xf", text(bundle), "-C", text(&packages)]);
        let folder = scratch.join("mirror");
        let root = folder.join("linux/debian");
        let pool = root.join("dists/trixie/pool/stable/amd64");
        fs::create_dir_all(&pool).unwrap();
        let work = scratch.join("work");
        for version in VERSIONS {
            let long = format!("5:{version}-1~debian.13~trixie");
            let built = |package: &str, of: &[&str], more: &str| {
                build(&work, &packages, &pool, package, &long, of, more);
            };
            built(
                "docker-ce",
                &["docker.io"],
                "Depends: containerd.io, docker-ce-cli, iptables\nConflicts: docker.io\nReplaces: docker.io\n",
            );
            built(
                "docker-ce-cli",
                &["docker-cli"],
                "Conflicts: docker.io, docker-cli\nReplaces: docker-cli\n",
            );
        }
        let built = |package: &str, of: &[&str], more: &str| {
            build(&work, &packages, &pool, package, "1.7.27-1", of, more);
        };
        built(
            "containerd.io",
            &["containerd", "runc", "tini"],
            "Conflicts: containerd, runc, tini\nReplaces: containerd, runc, tini\n",
        );
        built("docker-buildx-plugin", &[], "");
        built("docker-compose-plugin", &[], "");
        let fingerprint = index_and_sign(scratch, &root);
        let (port, closed) = serve::serve(folder.clone());
        Repository {
            address: format!("http://{HOST}:{port}"),
            fingerprint,
            folder,
            closed,
            port,
        }
    }

    /// Changes a byte of the first file whose name begins so, and returns what changes it back.
    pub fn change(&self, begins: &str) -> impl FnOnce() + use<> {
        let found = find(&self.folder, begins).expect("there is one");
        let before = fs::read(&found).unwrap();
        let mut after = before.clone();
        let middle = after.len() / 2;
        after[middle] ^= 1;
        fs::write(&found, after).unwrap();
        move || fs::write(found, before).unwrap()
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Builds a package that holds what others do, with the scripts of the first.
fn build(
    work: &Path,
    packages: &Path,
    pool: &Path,
    name: &str,
    version: &str,
    of: &[&str],
    more: &str,
) {
    let _ = fs::remove_dir_all(work);
    fs::create_dir_all(work.join("DEBIAN")).unwrap();
    for (at, package) in of.iter().enumerate() {
        let file = find(packages, &format!("{package}_")).expect("the bundle has it");
        run("dpkg-deb", &["-x", text(&file), text(work)]);
        if at == 0 {
            run("dpkg-deb", &["-e", text(&file), text(&work.join("DEBIAN"))]);
        }
    }
    let _ = fs::remove_file(work.join("DEBIAN/md5sums"));
    if of.contains(&"docker.io") {
        let file = find(packages, "docker.io_").expect("the bundle has it");
        say_version(&work.join("usr/sbin/dockerd"), &file, version);
    }
    // Upstream's unit takes no options.
    if let Some(unit) = find(work, "docker.service") {
        let text = fs::read_to_string(&unit).unwrap();
        fs::write(&unit, text.replace(" $DOCKER_OPTS", "")).unwrap();
    }
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: berth's tests <root@localhost>\n\
         {more}Description: a stand-in\n"
    );
    fs::write(work.join("DEBIAN/control"), control).unwrap();
    let short = version.split_once(':').map_or(version, |(_, rest)| rest);
    let file = pool.join(format!("{name}_{short}_amd64.deb"));
    // Neither side is to spend its time on compression.
    run("dpkg-deb", &["-Znone", "-b", text(work), text(&file)]);
}

/// Has a dockerd of the package `of` say that it is `version`: the digits that are compiled into it are replaced by as many
/// others.
fn say_version(dockerd: &Path, of: &Path, version: &str) {
    let plain = |version: &str| {
        let begin = version.split_once(':').map_or(version, |(_, rest)| rest);
        let digits = |c: char| c.is_ascii_digit() || c == '.';
        begin.split(|c| !digits(c)).next().unwrap().to_owned()
    };
    let name = text(of).rsplit('/').next().unwrap();
    let was = plain(name.split('_').nth(1).unwrap());
    let new = plain(version);
    assert_eq!(was.len(), new.len(), "{was} {new}");
    let replace = format!("s/{}\\(+dfsg\\)/{new}\\1/g", was.replace('.', "\\."));
    run("env", &["LC_ALL=C", "sed", "-i", &replace, text(dockerd)]);
}

/// Writes the index, and signs it with a new key, whose fingerprint is returned.
fn index_and_sign(scratch: &Path, root: &Path) -> String {
    let pool = "dists/trixie/pool/stable/amd64";
    let mut index = String::new();
    for entry in fs::read_dir(root.join(pool)).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        index += &run("dpkg-deb", &["-f", text(&path)]);
        let name = path.file_name().unwrap().to_string_lossy();
        index += &format!(
            "Filename: {pool}/{name}\nSize: {}\nSHA256: {}\n\n",
            bytes.len(),
            sha256(&bytes)
        );
    }
    let release = root.join("dists/trixie");
    fs::create_dir_all(release.join("stable/binary-amd64")).unwrap();
    fs::write(release.join("stable/binary-amd64/Packages"), &index).unwrap();
    let text_of_release = format!(
        "Origin: Docker\nSuite: trixie\nCodename: trixie\nArchitectures: amd64\nComponents: stable\n\
         Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n {} {} stable/binary-amd64/Packages\n",
        sha256(index.as_bytes()),
        index.len()
    );
    fs::write(release.join("Release"), text_of_release).unwrap();
    let home = scratch.join("gnupg");
    run("mkdir", &["-m", "0700", text(&home)]);
    let gpg = |arguments: &[&str]| {
        let all = [
            &[
                "--homedir",
                text(&home),
                "--batch",
                "--quiet",
                "--passphrase",
                "",
            ],
            arguments,
        ]
        .concat();
        run("gpg", &all)
    };
    gpg(&["--quick-gen-key", "mirror@test", "rsa2048"]);
    gpg(&["--armor", "--output", text(&root.join("gpg")), "--export"]);
    let signed = release.join("InRelease");
    gpg(&[
        "--clearsign",
        "--output",
        text(&signed),
        text(&release.join("Release")),
    ]);
    let listed = gpg(&["--with-colons", "--list-keys"]);
    run("gpgconf", &["--homedir", text(&home), "--kill", "all"]);
    let line = listed
        .lines()
        .find(|line| line.starts_with("fpr:"))
        .unwrap();
    line.split(':').nth(9).unwrap().to_owned()
}

fn find(folder: &Path, begins: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if let Some(found) = find(&path, begins) {
                return Some(found);
            }
        } else if name.starts_with(begins) {
            return Some(path);
        }
    }
    None
}

fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
