//! Reading `HOST[:GUEST][:ro]`.

use std::path::{Component, Path};

use toml::Table;

use super::Mount;

/// The longest path in a machine, and the longest of its names (bytes).
const MAX_PATH: usize = 1024;
const MAX_NAME: usize = 255;

/// What a machine cannot do without: neither these nor anything in them is mounted on.
const SYSTEM: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/root/.ssh",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/run",
    "/var/tmp",
];

/// What is in the folders above, and people's own.
const PEOPLES: &[&str] = &["/usr/local/src", "/usr/src"];

/// Folders in which much lies that they would hide; what is in them may be mounted on.
const FULL: &[&str] = &["/", "/home", "/root", "/tmp", "/var"];

pub(super) fn parse(text: &str) -> Result<Mount, String> {
    if text.chars().any(char::is_control) {
        return Err("it has control characters".into());
    }
    let parts: Vec<&str> = text.split(':').collect();
    let (host, guest, word) = match parts.as_slice() {
        [host] => (*host, None, None),
        [host, word] if !word.starts_with('/') && is_word(word) => (*host, None, Some(*word)),
        [host, guest] => (*host, Some(*guest), None),
        [host, guest, word] => (*host, Some(*guest), Some(*word)),
        _ => {
            return Err(format!(
                "{text:?} has too many colons: write HOST[:GUEST][:ro]; a path with a colon cannot be mounted"
            ));
        }
    };
    let read_only = match word {
        None | Some("rw") => false,
        Some("ro") => true,
        Some(word) => return Err(format!("{word:?} is neither ro nor rw")),
    };
    if host.is_empty() {
        return Err("no folder is named: write HOST[:GUEST][:ro]".into());
    }
    let written = std::path::absolute(host).map_err(|error| format!("{host}: {error}"))?;
    let host = written
        .canonicalize()
        .map_err(|error| format!("{}: {error}", written.display()))?;
    if !host.is_dir() {
        return Err(format!("{} is not a folder", host.display()));
    }
    if host
        .to_str()
        .is_none_or(|host| host.chars().any(char::is_control))
    {
        return Err(format!(
            "{:?} is not plain text",
            host.display().to_string()
        ));
    }
    let guest = match guest {
        Some(guest) => guest.to_owned(),
        // As it was written, so that `docker run -v $PWD:…` finds it under that name.
        None if is_plain(&written) => written.display().to_string(),
        None => host.display().to_string(),
    };
    Ok(Mount {
        guest: checked(&guest)?,
        host,
        read_only,
        unknown: Table::new(),
    })
}

fn is_word(text: &str) -> bool {
    matches!(text, "ro" | "rw")
}

/// Without `..`, and without what is not text.
fn is_plain(path: &Path) -> bool {
    path.to_str().is_some() && !path.components().any(|part| part == Component::ParentDir)
}

/// A path without doubled or trailing slashes.
pub(super) fn plain(guest: &str) -> String {
    let parts: Vec<&str> = guest.split('/').filter(|part| !part.is_empty()).collect();
    match guest.starts_with('/') {
        true => format!("/{}", parts.join("/")),
        false => parts.join("/"),
    }
}

fn checked(guest: &str) -> Result<String, String> {
    if !guest.starts_with('/') {
        return Err(format!(
            "{guest:?} is not an absolute path in the machine, such as /srv/{}",
            guest.trim_start_matches(['.', '/'])
        ));
    }
    let guest = plain(guest);
    let names = || guest.split('/').skip(1);
    if names().any(|name| matches!(name, "." | "..")) {
        return Err(format!("{guest} has . or .. in it"));
    }
    if guest.len() > MAX_PATH || names().any(|name| name.len() > MAX_NAME) {
        return Err(format!(
            "a path in the machine has {MAX_PATH} bytes at most, and each of its names {MAX_NAME}"
        ));
    }
    let path = Path::new(&guest);
    let hides = FULL.iter().any(|full| guest == *full)
        || (SYSTEM.iter().any(|system| path.starts_with(system))
            && !PEOPLES.iter().any(|own| path.starts_with(own)));
    if hides {
        return Err(format!(
            "{guest} in the machine is its system's: name another place, such as /srv/work"
        ));
    }
    Ok(guest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart_from_paths() {
        let folder = tempfile::tempdir().unwrap();
        let host = folder.path().canonicalize().unwrap();
        let host = host.to_str().unwrap();
        let read = |rest: &str| {
            let mount = parse(&format!("{host}{rest}")).unwrap();
            assert_eq!(mount.host, Path::new(host));
            (mount.guest, mount.read_only)
        };
        assert_eq!(read(""), (host.to_owned(), false));
        assert_eq!(read("/"), (host.to_owned(), false));
        assert_eq!(read(":ro"), (host.to_owned(), true));
        assert_eq!(read(":/srv//x/"), ("/srv/x".to_owned(), false));
        assert_eq!(read(":/srv/x:ro"), ("/srv/x".to_owned(), true));
        assert_eq!(read(":/srv/x:rw"), ("/srv/x".to_owned(), false));
        assert_eq!(read(":/ro"), ("/ro".to_owned(), false));
        for bad in [
            ":",
            ":x",
            ":/x:",
            ":/x:RO",
            ":/x:ro:ro",
            "::ro",
            ":/x/../y",
            ":/./x",
        ] {
            assert!(parse(&format!("{host}{bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_system_is_not_hidden() {
        for bad in [
            "/",
            "//",
            "/etc",
            "/etc/x",
            "/usr",
            "/usr/local/bin",
            "/var/lib/docker",
            "/dev/shm",
            "/home",
            "/tmp",
            "/root",
            "/root/.ssh",
            "/lib64",
        ] {
            assert!(checked(bad).is_err(), "{bad}");
        }
        for good in [
            "/srv",
            "/home/me",
            "/root/work",
            "/tmp/x",
            "/mnt",
            "/libs",
            "/usr/src/app",
            "/var/www",
            "/etcetera",
        ] {
            assert!(checked(good).is_ok(), "{good}");
        }
        assert!(checked(&format!("/{}", "x".repeat(256))).is_err());
        assert!(checked(&"/x".repeat(600)).is_err());
    }
}
