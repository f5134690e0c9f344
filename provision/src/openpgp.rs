//! As much of OpenPGP (RFC 4880) as tells whose key a file holds.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// The tag of a packet that holds a primary key.
const PUBLIC_KEY: u8 = 6;

/// The fingerprint of the one key in an armored file.
///
/// Package managers trust every key in a file that they are given: one with several, or with anything beside its one
/// armored block, is refused.
pub(crate) fn fingerprint(file: &[u8]) -> Result<String, String> {
    let packets = unarmored(file)?;
    let mut rest = packets.as_slice();
    let mut found = None;
    while !rest.is_empty() {
        let packet = Packet::next(&mut rest).ok_or("it is cut off or damaged")?;
        if packet.tag == PUBLIC_KEY && found.replace(of_key(packet.body)?).is_some() {
            return Err("it holds more than one key".into());
        }
    }
    found.ok_or_else(|| "it holds no key".into())
}

/// A fingerprint as people write it, without blanks and in capitals; `None` if it is none.
pub(crate) fn fingerprint_word(word: &str) -> Option<String> {
    let digits: String = word.chars().filter(|c| *c != ' ').collect();
    let good = digits.len() == 40 && digits.chars().all(|c| c.is_ascii_hexdigit());
    good.then(|| digits.to_ascii_uppercase())
}

fn unarmored(file: &[u8]) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(file).map_err(|_| "it is not an armored key")?;
    let inner = text
        .trim()
        .strip_prefix(BEGIN)
        .and_then(|text| text.strip_suffix(END))
        .ok_or("it is not an armored key")?;
    if inner.contains("-----") {
        return Err("it holds more than one armored block".into());
    }
    // Headers end with an empty line; a checksum of no value to us begins with an equals sign.
    let mut lines = inner.lines().map(str::trim_end).skip(1);
    for line in lines.by_ref() {
        if line.is_empty() {
            break;
        }
    }
    let body: String = lines.take_while(|line| !line.starts_with('=')).collect();
    STANDARD
        .decode(body)
        .map_err(|_| "its armor is damaged".into())
}

fn of_key(body: &[u8]) -> Result<String, String> {
    if body.first() != Some(&4) {
        return Err("its key is not of version 4".into());
    }
    let length = u16::try_from(body.len()).map_err(|_| "its key is too long")?;
    let mut hash = Sha1::new();
    hash.update([0x99]);
    hash.update(length.to_be_bytes());
    hash.update(body);
    let mut word = String::new();
    for byte in hash.finalize() {
        let _ = write!(word, "{byte:02X}");
    }
    Ok(word)
}

struct Packet<'a> {
    tag: u8,
    body: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Takes the next packet; `None` if there is none that is whole. Bodies in pieces, which keys never have, are none.
    fn next(rest: &mut &'a [u8]) -> Option<Self> {
        let mut take = |count: usize| {
            let (taken, left) = rest.split_at_checked(count)?;
            *rest = left;
            Some(taken)
        };
        let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
        let head = *take(1)?.first()?;
        let (tag, length) = match head {
            0xc0.. => {
                let first = usize::from(*take(1)?.first()?);
                let length = match first {
                    0..=191 => first,
                    192..=223 => ((first - 192) << 8) + number(take(1)?) + 192,
                    255 => number(take(4)?),
                    _ => return None,
                };
                (head & 0x3f, length)
            }
            0x80.. => {
                let length = match head & 3 {
                    3 => return None,
                    kind => number(take(1 << kind)?),
                };
                (head >> 2 & 0xf, length)
            }
            _ => return None,
        };
        Some(Packet {
            tag,
            body: take(length)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn armored(packets: &[u8]) -> String {
        format!("{BEGIN}\n\n{}\n=AAAA\n{END}\n", STANDARD.encode(packets))
    }

    /// Keys of gpg's own making, and the fingerprints that it tells.
    fn made_by_gpg(names: &[&str]) -> Option<(Vec<u8>, Vec<String>)> {
        let home = tempfile::tempdir().unwrap();
        let gpg = |arguments: &[&str]| {
            let mut gpg = Command::new("gpg");
            gpg.arg("--homedir").arg(home.path()).arg("--batch");
            gpg.args(["--quiet", "--passphrase", ""]).args(arguments);
            gpg.output().ok()
        };
        for name in names {
            assert!(gpg(&["--quick-gen-key", name])?.status.success());
        }
        let listed = gpg(&["--with-colons", "--list-keys"])?;
        let listed = String::from_utf8(listed.stdout).unwrap();
        let mut fingerprints = Vec::new();
        let mut lines = listed.lines();
        while lines.any(|line| line.starts_with("pub:")) {
            let line = lines.next().unwrap();
            fingerprints.push(line.split(':').nth(9).unwrap().to_owned());
        }
        let exported = gpg(&["--armor", "--export"])?.stdout;
        let _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(home.path())
            .args(["--kill", "all"])
            .status();
        Some((exported, fingerprints))
    }

    #[test]
    fn gpg_tells_the_same_fingerprint() {
        let Some((file, fingerprints)) = made_by_gpg(&["one@test"]) else {
            eprintln!("SKIPPED: gpg is not installed");
            return;
        };
        assert_eq!(fingerprint(&file).unwrap(), fingerprints[0]);
        // Nothing may ride along.
        let twice = [file.as_slice(), file.as_slice()].concat();
        assert!(fingerprint(&twice).is_err());
        let more = [b"hello\n".as_slice(), &file].concat();
        assert!(fingerprint(&more).is_err());
        for end in 0..file.len() - 40 {
            assert!(fingerprint(&file[..end]).is_err());
        }
    }

    #[test]
    fn a_file_of_two_keys_is_refused() {
        let Some((file, fingerprints)) = made_by_gpg(&["one@test", "two@test"]) else {
            eprintln!("SKIPPED: gpg is not installed");
            return;
        };
        assert_eq!(fingerprints.len(), 2);
        assert_eq!(
            fingerprint(&file).unwrap_err(),
            "it holds more than one key"
        );
    }

    #[test]
    fn garbage_is_no_key() {
        for packets in [
            &b""[..],
            b"\x00",
            b"\x98",
            b"\x98\xff\x04",
            b"\x9b\x04",
            b"\xc6\xe0\x04",
            b"\xc6\xff\xff\xff\xff\xff\x04",
            b"\x98\x01\x03",
            b"\xb4\x02hi",
        ] {
            assert!(fingerprint(armored(packets).as_bytes()).is_err());
        }
        assert!(fingerprint(b"\xff\xfe").is_err());
        assert!(fingerprint(BEGIN.as_bytes()).is_err());
    }
}
