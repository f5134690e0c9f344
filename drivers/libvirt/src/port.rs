//! The loopback port that leads to a machine's SSH server, in XML that libvirt has kept.

/// What stands before and after the port: in QEMU's arguments, and in libvirt's words for passt.
const FORWARDS: [(&str, &str); 2] = [
    ("hostfwd=tcp:127.0.0.1:", "-:22"),
    ("<range start='", "' to='22'/>"),
];

/// The XML with `port` in it wherever another one stands; `None` if none does.
pub(crate) fn changed(xml: &str, port: u16) -> Option<String> {
    let mut text = xml.to_owned();
    for (before, after) in FORWARDS {
        let mut parts = text.split(before);
        let mut new = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            new.push_str(before);
            match part.split_once(after) {
                Some((old, rest)) if old.parse::<u16>().is_ok() => {
                    new.push_str(&format!("{port}{after}{rest}"));
                }
                _ => new.push_str(part),
            }
        }
        text = new;
    }
    (text != xml).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_changed_wherever_it_stands() {
        let user = "<a value='user,hostfwd=tcp:127.0.0.1:42000-:22'/>";
        let passt = "<range start='42000' to='22'/>";
        let both = format!("<x>{user}{passt}</x><y>{user}</y>");
        let now = changed(&both, 42001).unwrap();
        assert_eq!(now, both.replace("42000", "42001"));
        assert_eq!(changed(&now, 42001), None);
    }

    #[test]
    fn what_is_no_forward_to_ssh_stays() {
        for other in [
            "hostfwd=tcp:127.0.0.1:8080-:80",
            "hostfwd=tcp:127.0.0.1:x-:22",
            "<range start='42000' to='23'/>",
            "hostfwd=tcp:127.0.0.1:",
            "",
        ] {
            assert_eq!(changed(other, 42001), None, "{other}");
        }
    }
}
