//! Docker's static releases: programs without a package, started by units of berth's own.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::refused;
use crate::ssh::quote;
use crate::{Error, Result};

/// What a release is made of.
const PROGRAMS: &[&str] = &[
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "docker",
    "docker-init",
    "docker-proxy",
    "dockerd",
    "runc",
];

/// Without these there is no engine.
const NEEDED: &[&str] = &[
    "containerd",
    "containerd-shim-runc-v2",
    "docker-proxy",
    "dockerd",
    "runc",
];

/// Where they go: before the programs of packages on everybody's PATH.
const FOLDER: &str = "/usr/local/bin";

/// Holds the version of the release that is installed.
pub(crate) const MARK: &str = "/usr/local/lib/berth/docker-release";

/// Its copy among programs that are kept.
const KEPT_MARK: &str = "docker-release";

/// They hide those of packages: two containerds would wait for each other's locks.
const UNITS: &[(&str, &str)] = &[
    (
        "containerd.service",
        include_str!("units/containerd.service"),
    ),
    ("docker.service", include_str!("units/docker.service")),
    ("docker.socket", include_str!("units/docker.socket")),
];

/// A static release.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) files: Vec<String>,
    /// Sent instead of them: it is a third of their size.
    pub(super) archive: Option<PathBuf>,
    pub(super) version: String,
    /// As `uname -m` names it.
    pub(super) arch: &'static str,
}

impl Programs {
    /// The release among these files, if there is one.
    pub(super) fn find(path: &Path, folder: &Path, names: &[String]) -> Result<Option<Self>> {
        if !names.iter().any(|name| name == "dockerd") {
            return Ok(None);
        }
        let files: Vec<String> = names
            .iter()
            .filter(|name| PROGRAMS.contains(&&***name))
            .cloned()
            .collect();
        if let Some(missing) = NEEDED
            .iter()
            .find(|needed| !files.iter().any(|file| file == *needed))
        {
            return Err(refused(
                path,
                &format!("its static release lacks {missing}"),
            ));
        }
        let mut arch = None;
        for name in &files {
            let file = folder.join(name);
            let mut head = Vec::new();
            File::open(&file)
                .and_then(|file| file.take(20).read_to_end(&mut head))
                .map_err(Error::io(&file))?;
            let found = machine(&head)
                .ok_or_else(|| refused(path, &format!("{name} is no program that runs there")))?;
            if arch.replace(found).is_some_and(|other| other != found) {
                return Err(refused(
                    path,
                    "its programs are for different architectures",
                ));
            }
        }
        let version = version(path).ok_or_else(|| {
            refused(
                path,
                "its name does not tell the release's version, as docker-26.1.5.tgz does",
            )
        })?;
        let name = path.file_name().and_then(super::plain_name);
        let gzipped = path != folder && name.is_some_and(|name| name.ends_with("gz"));
        Ok(arch.map(|arch| Programs {
            files,
            archive: gzipped.then(|| path.to_owned()),
            version,
            arch,
        }))
    }

    /// A script that installs the programs that are in `folder`, with their units.
    pub(super) fn install_script(&self, folder: &str) -> String {
        let mut script = format!(
            "set -e; [ -d /run/systemd/system ] || {{ echo 'a static release needs systemd' >&2; exit 1; }}; \
             command -v iptables >/dev/null || {{ echo 'docker needs the program iptables' >&2; exit 1; }}; \
             mkdir -p {FOLDER} \"$(dirname {MARK})\"; getent group docker >/dev/null || groupadd -r docker; "
        );
        script += &format!("cd {}; ", quote(folder));
        if self.archive.is_some() {
            // It was looked through: whatever else is in it is not installed.
            script += "tar -xzf ./*gz; ";
        }
        for file in &self.files {
            script += &place(file, &format!("$(find . -type f -name {file} | head -n 1)"));
        }
        script += &format!("printf '%s\\n' {} >{MARK}; ", quote(&self.version));
        script + &start_script()
    }
}

/// Shell words that put the file `from` in a program's place. One that runs can be replaced, not overwritten.
fn place(program: &str, from: &str) -> String {
    format!(
        "install -m 0755 \"{from}\" {FOLDER}/{program}.new; mv -f {FOLDER}/{program}.new {FOLDER}/{program}; "
    )
}

/// Shell words that have systemd start a release, or start it anew.
fn start_script() -> String {
    let mut script = String::new();
    for (name, text) in UNITS {
        script += &format!("printf %s {} >/etc/systemd/system/{name}; ", quote(text));
    }
    script
        + "systemctl daemon-reload; systemctl unmask -q docker.service docker.socket; \
           systemctl enable -q docker.service docker.socket; systemctl restart containerd.service docker.service || \
           { journalctl -u containerd.service -u docker.service -n 15 --no-pager -o cat >&2; exit 1; }"
}

/// A script that leaves the programs of the release that is installed in `folder`, for [`restore_script`].
pub(crate) fn keep_script(folder: &str) -> String {
    format!(
        "set -e; mkdir -p {folder}; for p in {programs}; do [ ! -e {FOLDER}/$p ] || cp -p {FOLDER}/$p {folder}/; done; \
         cp {MARK} {folder}/{KEPT_MARK}",
        folder = quote(folder),
        programs = PROGRAMS.join(" "),
    )
}

/// A script that installs what [`keep_script`] left in `folder`; where that is something else, `otherwise` is carried out.
pub(crate) fn restore_script(folder: &str, otherwise: &str) -> String {
    let mut script = format!(
        "f={folder}; if [ -e \"$f/{KEPT_MARK}\" ]; then set -e; ",
        folder = quote(folder)
    );
    for program in PROGRAMS {
        script += &format!(
            "if [ -e \"$f/{program}\" ]; then {}else rm -f {FOLDER}/{program}; fi; ",
            place(program, &format!("$f/{program}"))
        );
    }
    script += &format!("cp \"$f/{KEPT_MARK}\" {MARK}; ");
    script + &start_script() + &format!("; else {otherwise}; fi")
}

/// A script that takes a static release away, so that packages can take its place. Containers and images stay.
pub(crate) fn remove_script() -> String {
    let mut script = "systemctl disable -q --now docker.service docker.socket containerd.service 2>/dev/null; rm -f"
        .to_owned();
    for program in PROGRAMS {
        script += &format!(" {FOLDER}/{program}");
    }
    for (unit, _) in UNITS {
        script += &format!(" /etc/systemd/system/{unit}");
    }
    script + &format!(" {MARK}; systemctl daemon-reload")
}

/// The architecture of an ELF program, as `uname -m` names it.
fn machine(head: &[u8]) -> Option<&'static str> {
    match head {
        [0x7f, b'E', b'L', b'F', 2, 1, .., 62, 0] if head.len() == 20 => Some("x86_64"),
        [0x7f, b'E', b'L', b'F', 2, 1, .., 183, 0] if head.len() == 20 => Some("aarch64"),
        _ => None,
    }
}

/// The version in the name of an archive: `docker-26.1.5.tgz`.
fn version(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let rest = name.strip_prefix("docker-")?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
    let version = rest.get(..end.unwrap_or(rest.len()))?.trim_end_matches('.');
    let parts = version.split('.').count();
    (parts >= 2 && version.starts_with(|c: char| c.is_ascii_digit())).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_known_by_its_name_and_its_programs() {
        let version = |name: &str| version(Path::new(name));
        assert_eq!(version("/x/docker-26.1.5.tgz").as_deref(), Some("26.1.5"));
        assert_eq!(version("docker-28.5.2").as_deref(), Some("28.5.2"));
        assert_eq!(version("docker.tgz"), None);
        assert_eq!(version("docker-latest.tgz"), None);
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(machine(&own[..20]), Some(std::env::consts::ARCH));
        assert_eq!(machine(b"#!/bin/sh\n"), None);
    }
}
