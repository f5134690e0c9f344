//! The checksums that distributors publish, alone or in a file of many.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

use crate::{Digest, Error, Result};

/// What a file has to be: `sha256:` and 64 hex digits, or `sha512:` and 128.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Checksum {
    algorithm: Algorithm,
    hex: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Algorithm {
    Sha256,
    Sha512,
}

/// Reads a file's bytes as they come.
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hash) => hash.update(bytes),
            Hasher::Sha512(hash) => hash.update(bytes),
        }
    }

    /// All that a file holds.
    pub(crate) fn update_with(&mut self, path: &Path) -> Result<()> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => self.update(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(path)(error)),
            }
        }
    }

    pub(crate) fn finish(self) -> Checksum {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let (algorithm, hex) = match self {
            Hasher::Sha256(hash) => (Algorithm::Sha256, hex(&hash.finalize())),
            Hasher::Sha512(hash) => (Algorithm::Sha512, hex(&hash.finalize())),
        };
        Checksum { algorithm, hex }
    }
}

impl Checksum {
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn of_hex(hex: &str) -> Option<Self> {
        let algorithm = match hex.len() {
            64 => Algorithm::Sha256,
            128 => Algorithm::Sha512,
            _ => return None,
        };
        let good = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        good.then(|| Checksum {
            algorithm,
            hex: hex.to_ascii_lowercase(),
        })
    }
}

impl std::fmt::Display for Checksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let algorithm = match self.algorithm {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        };
        write!(f, "{algorithm}:{}", self.hex)
    }
}

impl FromStr for Checksum {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text.split_once(':') {
            Some(("sha256", hex)) if hex.len() == 64 => Checksum::of_hex(hex),
            Some(("sha512", hex)) if hex.len() == 128 => Checksum::of_hex(hex),
            _ => None,
        };
        parsed.ok_or("a digest is sha256: and 64 hex digits, or sha512: and 128")
    }
}

impl From<&Digest> for Checksum {
    fn from(digest: &Digest) -> Checksum {
        Checksum {
            algorithm: Algorithm::Sha256,
            hex: digest.hex().to_owned(),
        }
    }
}

impl From<Checksum> for String {
    fn from(checksum: Checksum) -> String {
        checksum.to_string()
    }
}

impl TryFrom<String> for Checksum {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The file that `pattern` (a name, or one with a `*` in it) means in a distributor's checksum file, and its checksum.
/// Lines are GNU's `HEX  NAME`, BSD's `SHA256 (NAME) = HEX`, or one digest alone; anything else is passed over.
///
/// # Errors
/// What is wrong, in words: it is not in there, or means two things.
pub(crate) fn find(text: &str, pattern: &str) -> Result<(String, Checksum), String> {
    let mut found: Option<(String, Checksum)> = None;
    let mut alone = Vec::new();
    for line in text.lines() {
        let (name, checksum) = match line_of(line.trim()) {
            Some((Some(name), checksum)) => (name, checksum),
            Some((None, checksum)) => {
                alone.push(checksum);
                continue;
            }
            None => continue,
        };
        if !matches(pattern, name) {
            continue;
        }
        match &found {
            Some((other, _)) if other != name => {
                return Err(format!("{pattern} means both {other} and {name} in it"));
            }
            Some((_, known))
                if known.algorithm == checksum.algorithm && known.hex != checksum.hex =>
            {
                return Err(format!("it has two different checksums for {name}"));
            }
            // Of two kinds, the longer.
            Some((_, known)) if known.algorithm >= checksum.algorithm => {}
            _ => found = Some((name.to_owned(), checksum)),
        }
    }
    match (found, alone.as_slice()) {
        (Some(found), _) => Ok(found),
        (None, [checksum]) if !pattern.contains('*') => Ok((pattern.to_owned(), checksum.clone())),
        _ => Err(format!("it has no checksum for {pattern}")),
    }
}

fn line_of(line: &str) -> Option<(Option<&str>, Checksum)> {
    let bsd = ["SHA256 (", "SHA512 ("]
        .iter()
        .find_map(|start| line.strip_prefix(start));
    if let Some(rest) = bsd {
        let (name, hex) = rest.rsplit_once(") = ")?;
        return Some((Some(name), Checksum::of_hex(hex.trim())?));
    }
    match line.split_once(char::is_whitespace) {
        None => Some((None, Checksum::of_hex(line)?)),
        Some((hex, name)) => {
            // A star is GNU's mark of a binary file.
            let name = name.trim_start();
            let name = name.strip_prefix('*').unwrap_or(name);
            let name = name.strip_prefix("./").unwrap_or(name);
            Some((Some(name), Checksum::of_hex(hex)?))
        }
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, end)) => {
            name.len() >= start.len() + end.len()
                && name.starts_with(start)
                && name.ends_with(end)
                && !name.contains('/')
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(digit: char, count: usize) -> String {
        digit.to_string().repeat(count)
    }

    #[test]
    fn every_form_that_distributors_use_is_read() {
        let (a, b, long) = (hex('a', 64), hex('b', 64), hex('C', 128));
        let gnu = format!("{a} *noble.img\n{b}  noble.img.xz\n");
        assert_eq!(
            find(&gnu, "noble.img").unwrap().1.to_string(),
            format!("sha256:{a}")
        );
        let bsd = format!("# disk.qcow2: 12 bytes\nSHA256 (disk.qcow2) = {b}\n");
        assert_eq!(
            find(&bsd, "disk.qcow2").unwrap().1.to_string(),
            format!("sha256:{b}")
        );
        let single = format!("{long}\n");
        let found = find(&single, "any.qcow2").unwrap().1.to_string();
        assert_eq!(found, format!("sha512:{}", long.to_lowercase()));
        let stars = format!("{a}  al-kvm-1.2-x86_64.qcow2\n{b}  al-kvm-1.2-x86_64.ova\n");
        assert_eq!(
            find(&stars, "al-kvm-*-x86_64.qcow2").unwrap().0,
            "al-kvm-1.2-x86_64.qcow2"
        );
        let both = format!("{a}  f\nSHA512 (f) = {long}\n");
        assert!(
            find(&both, "f")
                .unwrap()
                .1
                .to_string()
                .starts_with("sha512:")
        );
    }

    #[test]
    fn what_is_missing_or_means_two_things_is_refused() {
        let (a, b) = (hex('a', 64), hex('b', 64));
        let two = format!("{a}  disk-1.img\n{b}  disk-2.img\n");
        assert!(find(&two, "disk-3.img").unwrap_err().contains("disk-3.img"));
        assert!(find(&two, "disk-*.img").unwrap_err().contains("both"));
        let contradiction = format!("{a}  f\n{b}  f\n");
        assert!(
            find(&contradiction, "f")
                .unwrap_err()
                .contains("two different")
        );
        for text in [
            "",
            "<html>404</html>",
            &a[..63],
            &format!("{a}\n{b}"),
            "zz  f",
        ] {
            assert!(find(text, "f").is_err(), "{text}");
        }
        assert!(
            format!("sha256:{}", hex('a', 128))
                .parse::<Checksum>()
                .is_err()
        );
        assert!(format!("md5:{}", hex('a', 32)).parse::<Checksum>().is_err());
    }
}
