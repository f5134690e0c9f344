//! The environment of the engine's service.
//!
//! It lies in a file that only root reads: what stands in a unit itself is told to everyone on the machine
//! (systemd.exec(5), `Environment=`).

use std::collections::BTreeMap;

/// The variables.
pub(crate) const FILE: &str = "/etc/docker/berth.env";

/// What makes the service read them.
pub(crate) const DROP_IN: &str = "/etc/systemd/system/docker.service.d/berth.conf";

/// The content of [`DROP_IN`].
pub(crate) const DROP_IN_TEXT: &str = "[Service]\nEnvironmentFile=-/etc/docker/berth.env\n";

/// The file for these variables; `None` if it has them already. No variables and no file are the same.
pub(crate) fn changed(
    existing: Option<&[u8]>,
    wanted: &BTreeMap<String, String>,
) -> Option<Vec<u8>> {
    let mut text = String::new();
    for (name, value) in wanted {
        // Within double quotes these have a meaning (systemd.exec(5), `EnvironmentFile=`).
        let mut quoted = String::new();
        for c in value.chars() {
            if matches!(c, '"' | '\\' | '`' | '$') {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        text.push_str(&format!("{name}=\"{quoted}\"\n"));
    }
    (existing.unwrap_or_default() != text.as_bytes()).then(|| text.into_bytes())
}

/// The variables of a file that [`changed`] made; lines of another form are passed over.
pub(crate) fn read(file: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(file);
    let lines = text.lines().filter_map(|line| {
        let (name, value) = line.split_once("=\"")?;
        let quoted = value.strip_suffix('"')?;
        let mut plain = String::new();
        let mut chars = quoted.chars();
        while let Some(c) = chars.next() {
            plain.push(if c == '\\' { chars.next()? } else { c });
        }
        Some((name.to_owned(), plain))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_value_is_read_as_it_was_written() {
        let value = r#"http://u:p"a$s`s\@proxy:3128/?%20 x"#;
        let wanted = BTreeMap::from([("HTTP_PROXY".to_owned(), value.to_owned())]);
        let file = changed(None, &wanted).unwrap();
        assert_eq!(read(&file), wanted);
        assert_eq!(changed(Some(&file), &wanted), None);
        assert_eq!(
            String::from_utf8(file).unwrap(),
            "HTTP_PROXY=\"http://u:p\\\"a\\$s\\`s\\\\@proxy:3128/?%20 x\"\n"
        );
    }

    #[test]
    fn nothing_is_wanted_where_nothing_is() {
        let none = BTreeMap::new();
        assert_eq!(changed(None, &none), None);
        assert_eq!(changed(Some(b"A=\"1\"\n"), &none), Some(Vec::new()));
        assert!(read(b"\xff\nA\n=\"\nB=\"x\n").len() <= 1);
    }
}
