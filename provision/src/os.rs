//! Which operating system a machine runs, by its /etc/os-release.

use serde::{Deserialize, Serialize};

/// More than any real os-release; what a machine sends beyond it is not looked at.
pub(crate) const SIZE_LIMIT: usize = 64 * 1024;

/// Longest value that is kept.
const VALUE_LIMIT: usize = 256;

/// An operating system.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Os {
    /// `debian`.
    pub id: String,
    /// What it is like, the closest first: `debian` for Ubuntu.
    pub id_like: Vec<String>,
    /// `13`; empty for a rolling release.
    pub version_id: String,
    /// `trixie`; empty where there are none.
    pub codename: String,
    /// `Debian GNU/Linux 13 (trixie)`.
    pub pretty_name: String,
}

impl Os {
    /// Reads an os-release file (man 5 os-release). The file is the machine's own and may hold anything: lines
    /// that are no assignments are passed over, values are cut, and control characters dropped.
    pub fn parse(bytes: &[u8]) -> Self {
        let whole_lines = match bytes.get(..SIZE_LIMIT) {
            Some(cut) => cut
                .iter()
                .rposition(|byte| *byte == b'\n')
                .unwrap_or(cut.len()),
            None => bytes.len(),
        };
        let text = String::from_utf8_lossy(bytes.get(..whole_lines).unwrap_or_default());
        let mut os = Os::default();
        for line in text.lines() {
            let line = line.trim();
            let Some((name, value)) = line.split_once('=') else {
                continue;
            };
            let value = unquote(value);
            match name {
                "ID" => os.id = value.to_lowercase(),
                "ID_LIKE" => os.id_like = value.to_lowercase().split(' ').map(Into::into).collect(),
                "VERSION_ID" => os.version_id = value,
                "VERSION_CODENAME" => os.codename = value,
                "PRETTY_NAME" => os.pretty_name = value,
                _ => {}
            }
        }
        os.id_like.retain(|id| !id.is_empty());
        if os.pretty_name.is_empty() {
            os.pretty_name = format!("{} {}", os.id, os.version_id).trim().to_owned();
        }
        os
    }
}

/// The value of a shell assignment, which may be quoted in parts.
fn unquote(value: &str) -> String {
    let mut plain = String::new();
    let mut quote = None;
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        let next = match (c, quote) {
            ('\'', None) | ('"', None) => {
                quote = Some(c);
                continue;
            }
            (c, Some(open)) if c == open => {
                quote = None;
                continue;
            }
            ('\\', None) => characters.next(),
            ('\\', Some('"')) => match characters.next() {
                Some(c @ ('"' | '\\' | '$' | '`')) => Some(c),
                Some(c) => {
                    plain.push('\\');
                    Some(c)
                }
                None => None,
            },
            // An unquoted space ends the word, and what follows is a comment at best.
            (c, None) if c.is_whitespace() => break,
            (c, _) => Some(c),
        };
        plain.extend(next.filter(|c| !c.is_control()));
        if plain.len() >= VALUE_LIMIT {
            break;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_files_are_read() {
        let os = Os::parse(
            b"PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"13\"\n\
              VERSION=\"13 (trixie)\"\nVERSION_CODENAME=trixie\nID=debian\n",
        );
        assert_eq!(os.id, "debian");
        assert_eq!(os.version_id, "13");
        assert_eq!(os.codename, "trixie");
        assert_eq!(os.pretty_name, "Debian GNU/Linux 13 (trixie)");
        assert!(os.id_like.is_empty());
        let os = Os::parse(b"ID=rocky\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\n");
        assert_eq!(os.id_like, ["rhel", "centos", "fedora"]);
        assert_eq!(os.pretty_name, "rocky 9.4");
    }

    #[test]
    fn quotes_and_escapes_are_the_shells() {
        assert_eq!(unquote(r#""a \"b\" \$c \\ \d""#), r#"a "b" $c \ \d"#);
        assert_eq!(unquote(r"'a \ $b'"), r"a \ $b");
        assert_eq!(unquote(r"a\ b"), "a b");
        assert_eq!(unquote("a # comment"), "a");
        assert_eq!(unquote("a'b'\"c\""), "abc");
        assert_eq!(unquote("\"open"), "open");
        assert_eq!(unquote("\\"), "");
    }

    #[test]
    fn hostile_files_do_no_harm() {
        assert_eq!(Os::parse(b""), Os::default());
        let os = Os::parse(b"\xff\xfe=\x00\nID\n=x\nID=\x1b[31mdebian\x07\n ID_LIKE = x\n");
        assert_eq!(os.id, "[31mdebian");
        let mut long = b"ID=".to_vec();
        long.resize(10_000_000, b'x');
        assert!(Os::parse(&long).id.len() <= VALUE_LIMIT);
        let many = "ID=debian\n".repeat(1_000_000);
        assert_eq!(Os::parse(many.as_bytes()).id, "debian");
        let os = Os::parse(b"ID_LIKE=\"  a  b \"");
        assert_eq!(os.id_like, ["a", "b"]);
    }
}
